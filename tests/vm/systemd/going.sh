# The node runs as a service again, and the machine is about to shut down.
. /scene/say.sh
systemctl --user start kubelocal
kubelocal wait pod --all --for=condition=Ready --timeout=180s || kubelocal describe pod
