# After the user's systemd was ended and started again, the unit with it.
. /scene/say.sh
until_so 'systemctl --user --quiet is-active kubelocal'
end() { kubelocal get pod $1 -o 'jsonpath={.status.containerStatuses[0].lastState.terminated.finishedAt}'; }
kubelocal wait pod --all --for=condition=Ready --timeout=180s || kubelocal describe pod
say shutdown-ends "echo web $(end web) last $(end last)"
say shutdown-codes "kubelocal get pod -o 'jsonpath={range .items[*]}{.metadata.name}={.status.containerStatuses[0].lastState.terminated.exitCode} {end}'"
kubelocal apply -f /scene/confined.yaml
kubelocal wait pod/confined --for=condition=Ready --timeout=180s || kubelocal describe pod confined
say rootless-profile "kubelocal exec confined -- /kubelocal demo cat /proc/1/attr/current"
say rootless-may-not "kubelocal exec confined -- /kubelocal demo write /tmp/secret yes"
kubelocal stop --pods
