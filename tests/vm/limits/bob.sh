# What the user without a delegated group does.
cd /home/bob
. /say.sh
# A machine that is emulated may need longer than a command waits for the node that it starts.
kubelocal node >node.log 2>&1 &
until_so 'kubelocal status | grep -q ^Node:' || cat node.log
kubelocal apply -f /poor.yaml
kubelocal wait pod/poor --for=condition=Ready --timeout=180s || kubelocal describe pod poor
say poor-ready "kubelocal get pod poor -o 'jsonpath={.status.conditions[?(@.type==\"Ready\")].status}'"
say poor-condition "kubelocal get pod poor -o 'jsonpath={.status.conditions[?(@.type==\"kubelocal.dev/LimitsEnforced\")].message}'"
say poor-event "kubelocal get events -o 'jsonpath={.items[?(@.reason==\"LimitsNotEnforced\")].message}'"
say poor-cgroups "kubelocal status | sed -n 's/^Cgroups: *//p'"
say poor-doctor "kubelocal doctor"
kubelocal top pod
kubelocal stop --pods
