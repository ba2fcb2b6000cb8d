# What a user finds who starts the node by hand, in the group of a session that is root's.
. /scene/say.sh
say session "sed 's/.*\///' /proc/self/cgroup"
kubelocal get pods
say session-cgroups "kubelocal status | sed -n 's/^Cgroups: *//p'"
kubelocal wait pod/web --for=condition=Ready --timeout=180s || kubelocal describe pod web
say session-limit "cat $(find /sys/fs/cgroup/user.slice -type d -name kubelocal-$(kubelocal get pod web -o 'jsonpath={.metadata.uid}'))/memory.max"
# The unit ended them in order.
end() { kubelocal get pod $1 -o 'jsonpath={.status.containerStatuses[0].lastState.terminated.finishedAt}'; }
say ends "echo web $(end web) last $(end last)"
say codes "kubelocal get pod -o 'jsonpath={range .items[*]}{.metadata.name}={.status.containerStatuses[0].lastState.terminated.exitCode} {end}'"
kubelocal stop
