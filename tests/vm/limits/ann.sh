# What the user with a delegated group does.
cd /home/ann
. /say.sh
state() { kubelocal get pod $1 -o "jsonpath={.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}"; }
group() { echo /sys/fs/cgroup/ann/kubelocal-$(kubelocal get pod $1 -o 'jsonpath={.metadata.uid}'); }
count() { awk "/^$2 /{print \$2}" $(group $1)/*/$3; }
# A machine that is emulated may need longer than a command waits for the node that it starts.
kubelocal node >node.log 2>&1 &
until_so 'kubelocal status | grep -q ^Node:' || cat node.log
kubelocal apply -f /pods.yaml
# Without this nothing of the rest can be so.
kubelocal wait pod/web --for=condition=Ready --timeout=180s || { kubelocal describe pod web; kubelocal stop --pods; exit; }
for pod in hungry parent liar; do kubelocal wait pod/$pod '--for=jsonpath={.status.phase}=Failed' --timeout=180s; done
kubelocal wait pod/burn pod/slowed pod/crowd pod/sure '--for=jsonpath={.status.phase}=Running' --timeout=180s
say cgroups "kubelocal status | sed -n 's/^Cgroups: *//p'"
say web-ready "kubelocal get pod web -o 'jsonpath={.status.conditions[?(@.type==\"Ready\")].status}'"
say web-condition "kubelocal get pod web -o 'jsonpath={.status.conditions[?(@.type==\"kubelocal.dev/LimitsEnforced\")].message}'"
for pod in hungry parent liar; do say $pod "state $pod"; done
g=$(group web)
for file in cpu.max cpu.weight memory.max memory.low memory.min memory.high memory.oom.group; do say web/$file "cat $g/*/$file"; done
for file in cpu.max memory.max pids.max; do say web-pod/$file "cat $g/$file"; done
for file in memory.min memory.high; do say sure/$file "cat $(group sure)/*/$file"; done
say burn/cpu.max "cat $(group burn)/*/cpu.max"
until_so '[ "$(count burn nr_throttled cpu.stat)" -gt 0 ]'
say burn-throttled "count burn nr_throttled cpu.stat"
until_so 'kubelocal logs slowed | grep -q ate'
say slowed-high "count slowed high memory.events"
until_so 'kubelocal logs crowd | grep -q started'
say crowd-started "kubelocal logs crowd | sed -n 's/started //p'"
kubelocal top pod
say top-slowed-memory "kubelocal top pod slowed --no-headers | awk '{print \$3}' | tr -d Mi"
say top-burn-cpu "kubelocal top pod burn --no-headers | awk '{print \$2}' | tr -d m"
# A file's resources change, and the pod that runs has others; but none below what it uses.
resize() { sed "s/64Mi/$1/; s/200m/$2/" /elastic.yaml >kl/manifests/elastic.yaml; }
condition() { kubelocal get pod elastic -o "jsonpath={.status.conditions[?(@.type==\"PodResizeInProgress\")].$1}"; }
life() { kubelocal get pod elastic -o 'jsonpath={.status.containerStatuses[0].containerID}'; }
resize 64Mi 200m
until_so 'kubelocal logs elastic 2>/dev/null | grep -q ate'
elastic=$(life)
resize 96Mi 300m
until_so '[ "$(cat $(group elastic)/*/memory.max)" = 100663296 ]'
for file in memory.max cpu.max; do say elastic/$file "cat $(group elastic)/*/$file"; say elastic-pod/$file "cat $(group elastic)/$file"; done
resize 24Mi 100m
until_so '[ "$(condition reason)" = Error ]'
say elastic-refused "condition message"
say elastic-kept "cat $(group elastic)/*/memory.max"
resize 80Mi 100m
until_so '[ "$(cat $(group elastic)/*/memory.max)" = 83886080 ]'
until_so '[ -z "$(condition status)" ]'
say elastic-less "cat $(group elastic)/*/cpu.max"
say elastic-lived "[ $(life) = $elastic ] && echo yes"
kubelocal stop --pods
say left "ls -d /sys/fs/cgroup/ann/*/ | xargs -n1 basename"
