# What scripts of all machines need. Lines that begin with @ are what the test reads: a name, and a value.
say() { echo "@$1 $(eval "$2" 2>&1 | tr '\n' ' ' | sed 's/ *$//')"; }
# A condition that must come true; the last word on it is in the output if it does not.
until_so() { n=0; until eval "$1"; do n=$((n+1)); [ $n -lt 240 ] || { echo "never: $1"; kubelocal get pods; return 1; }; sleep 0.5; done; }
