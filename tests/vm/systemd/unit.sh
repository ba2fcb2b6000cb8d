# What a user does with the unit, as deploy/README.md says it.
. /scene/say.sh
cd ~/checkout
sh -x /scene/install.sh
# It is ready when systemctl comes back.
say ready "kubelocal status | sed -n 's/^Node: *\([a-z]*\) .*/\1/p'"
say cgroups "kubelocal status | sed -n 's/^Cgroups: *//p'"
say doctor "kubelocal doctor | sed -n 's/^[a-z]* *cgroups: *//p'"
kubelocal apply -f /scene/pods.yaml
kubelocal wait pod --all --for=condition=Ready --timeout=180s || kubelocal describe pod
group() { find /sys/fs/cgroup/user.slice -type d -name kubelocal-$(kubelocal get pod $1 -o 'jsonpath={.metadata.uid}'); }
say enforced "kubelocal get pod web -o 'jsonpath={.status.conditions[?(@.type==\"kubelocal.dev/LimitsEnforced\")].message}'"
say limit "cat $(group web)/memory.max"
say unit "basename $(dirname $(group web))"
# What identifies its processes, and how often they were started.
life() { kubelocal get pod -o 'jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount},{end}'; }
node() { systemctl --user show --property MainPID --value kubelocal; }
lives=$(life) first=$(node)
systemctl --user restart kubelocal
second=$(node)
say restarted "[ $first != $second ] && [ \"\$(life)\" = \"$lives\" ] && echo yes"
# Of a pod that the second node makes, while others of the first one run.
kubelocal apply -f /scene/later.yaml
kubelocal wait pod/later --for=condition=Ready --timeout=180s || kubelocal describe pod later
say limit-of-later "cat $(group later)/memory.max"
lives=$(life)
kill -9 $second
until_so '[ $(node) != 0 ] && [ $(node) != $second ] && systemctl --user --quiet is-active kubelocal'
say revived "[ \"\$(life)\" = \"$lives\" ] && echo yes"
systemctl --user stop kubelocal
say left-alone "ps -o args | grep -c '^/kubelocal demo'"
systemctl --user start kubelocal
say adopted "[ \"\$(life)\" = \"$lives\" ] && echo yes"
# From here on pods end with the unit: who ignores the signal takes its grace, and what is critical has its turn after that.
printf 'shutdownGracePeriod: 40s\nshutdownGracePeriodCriticalPods: 20s\n' >>~/.kubelocal/config.yaml
# systemd waits as long as that, and not as long as it would otherwise.
mkdir -p ~/.config/systemd/user/kubelocal.service.d
printf '[Service]\nTimeoutStopSec=3\n' >~/.config/systemd/user/kubelocal.service.d/short.conf
systemctl --user daemon-reload
systemctl --user restart kubelocal
say still-there "[ \"\$(life)\" = \"$lives\" ] && echo yes"
systemctl --user stop kubelocal
say stopped "systemctl --user show --property Result --value kubelocal"
say left-over "ps -o args | grep -c '^/kubelocal demo'"
say groups-left "find /sys/fs/cgroup/user.slice -type d -name 'kubelocal-*'"
