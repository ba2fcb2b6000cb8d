# What the user without a delegated group does.
cd /home/bob
say() { echo "@$1 $(eval "$2" 2>&1 | tr '\n' ' ' | sed 's/ *$//')"; }
kubelocal apply -f /poor.yaml
kubelocal wait pod/poor --for=condition=Ready --timeout=180s || kubelocal describe pod poor
say poor-ready "kubelocal get pod poor -o 'jsonpath={.status.conditions[?(@.type==\"Ready\")].status}'"
say poor-condition "kubelocal get pod poor -o 'jsonpath={.status.conditions[?(@.type==\"kubelocal.dev/LimitsEnforced\")].message}'"
say poor-event "kubelocal get events -o 'jsonpath={.items[?(@.reason==\"LimitsNotEnforced\")].message}'"
say poor-cgroups "kubelocal status | sed -n 's/^Cgroups: *//p'"
say poor-doctor "kubelocal doctor"
kubelocal top pod
kubelocal stop --pods
