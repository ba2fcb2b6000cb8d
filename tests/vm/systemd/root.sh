# What root does: lets a user come in, ends the user's systemd as a shutdown does, and runs a node of its own as a service of the system.
. /scene/say.sh
# A session, as login and ssh open one.
as_alice() { systemd-run --quiet --wait --pipe -p PAMName=login -p User=alice -p WorkingDirectory=/home/alice --setenv=PATH=/home/alice/.local/bin:/bin:/sbin "$@" 2>&1; }
say systemd "systemctl --version | head -n 1 | cut -d ' ' -f 2"
# The install notes' last line: the user may say it where there is polkit.
loginctl enable-linger alice
until_so '[ -S /run/user/1000/systemd/private ]'
apparmor_parser --add --skip-cache /scene/profile
as_alice sh /scene/unit.sh
as_alice sh /scene/session.sh
as_alice sh /scene/going.sh
systemctl stop user@1000.service
systemctl start user@1000.service
as_alice sh /scene/gone.sh

# A node of root's.
sed 's|%h/.local/bin|/bin|' /scene/checkout/deploy/kubelocal.service >/etc/systemd/system/kubelocal.service
mkdir -p /root/.kubelocal
echo 'evictionHard: {}' >/root/.kubelocal/config.yaml
cp /scene/checkout/target/x86_64-unknown-linux-gnu/release/kubelocal /bin/
systemctl daemon-reload
systemctl enable --now kubelocal
export HOME=/root
say root-status "kubelocal status | sed -n 's/^Mode: *//p'"
say root-cgroups "kubelocal status | sed -n 's/^Cgroups: *//p'"
kubelocal apply -f /scene/confined.yaml
kubelocal wait pod/confined --for=condition=Ready --timeout=180s || kubelocal describe pod confined
say root-limit "cat /sys/fs/cgroup/$(find /sys/fs/cgroup -name "kubelocal-$(kubelocal get pod confined -o 'jsonpath={.metadata.uid}')" | sed s,/sys/fs/cgroup/,,)/memory.max"
say root-profile "kubelocal exec confined -- /kubelocal demo cat /proc/1/attr/current"
say root-may "kubelocal exec confined -- /kubelocal demo write /tmp/free yes && kubelocal exec confined -- /kubelocal demo cat /tmp/free"
say root-may-not "kubelocal exec confined -- /kubelocal demo write /tmp/secret yes"
id=$(kubelocal get pod confined -o 'jsonpath={.status.containerStatuses[0].containerID}')
systemctl restart kubelocal
say root-same "[ $(kubelocal get pod confined -o 'jsonpath={.status.containerStatuses[0].containerID}') = $id ] && echo yes"
kubelocal apply -f /scene/unknown.yaml
until_so 'kubelocal events --for pod/unknown | grep -q Error'
say root-unknown "kubelocal get pod unknown -o 'jsonpath={.status.containerStatuses[0].state.waiting.message}'"
kubelocal stop --pods
echo '@end'
poweroff -f
