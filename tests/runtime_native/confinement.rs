//! What a container sees and may do.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use kubelocal::runtime::{Mount, Runtime, Seccomp};

use crate::ground::Ground;

crate::with_every_runtime! {
    seccomp_is_on_with_and_without_new_privileges_and_for_commands_too
    capabilities_are_kubernetes_and_commands_have_the_same
    a_privileged_container_may_do_what_the_namespace_allows
    the_user_comes_from_the_containers_own_files
    the_working_directory_is_made_and_the_environment_has_defaults
    whiteouts_hide_and_a_deleted_directory_can_be_made_again
    an_image_of_150_layers_works
    mounts_are_made_where_asked_and_read_only_means_it
    a_link_in_an_image_leads_no_mount_out_of_it
    a_read_only_root_is_read_only
    system_directories_are_masked_and_read_only
    the_hosts_network_is_the_hosts
    yes_piped_into_head_ends
}

async fn seccomp_is_on_with_and_without_new_privileges_and_for_commands_too(ground: Ground) {
    let pod = ground.sandbox("seccomp").await;
    for (escalation, seccomp, mode) in [
        (true, Seccomp::RuntimeDefault, "2"),
        (false, Seccomp::RuntimeDefault, "2"),
        (true, Seccomp::Unconfined, "0"),
    ] {
        let mut config = ground.script("main", "grep Seccomp: /proc/self/status; echo ready; sleep 1000");
        config.attempt = u32::from(escalation) + 2 * u32::from(mode == "0");
        config.security.allow_privilege_escalation = escalation;
        config.security.seccomp = seccomp;
        ground.start(&pod, &config).await;
        ground.wait_for_log(&config, "ready").await;
        let expected = format!("Seccomp:\t{mode}\n");
        assert!(
            crate::ground::logged(&config).starts_with(&expected),
            "{}",
            crate::ground::logged(&config)
        );
        let (code, output) = ground
            .exec(&pod, &config.id, &["grep", "Seccomp:", "/proc/self/status"])
            .await;
        assert_eq!((code, output), (0, expected));
        let (_, output) = ground
            .exec(&pod, &config.id, &["grep", "NoNewPrivs:", "/proc/self/status"])
            .await;
        assert_eq!(output, format!("NoNewPrivs:\t{}\n", i32::from(!escalation)));
        let (code, _) = ground.exec(&pod, &config.id, &["unshare", "--user", "true"]).await;
        assert_eq!(code == 0, mode == "0");
    }
}

async fn capabilities_are_kubernetes_and_commands_have_the_same(mut ground: Ground) {
    let pod = ground.sandbox("capable").await;
    let config = ground.script("main", "grep Cap /proc/self/status; echo ready; sleep 1000");
    ground.start(&pod, &config).await;
    ground.wait_for_log(&config, "ready").await;
    let expected = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
                    CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n";
    assert_eq!(crate::ground::logged(&config).trim_end_matches("ready\n"), expected);
    assert_eq!(
        ground
            .exec(&pod, &config.id, &["grep", "Cap", "/proc/self/status"])
            .await,
        (0, expected.to_owned())
    );
    let mut dropped = ground.script("dropped", "grep CapBnd /proc/self/status");
    dropped.security.drop_capabilities = vec!["ALL".to_owned()];
    dropped.security.add_capabilities = vec!["NET_BIND_SERVICE".to_owned()];
    assert_eq!(ground.output(&pod, &dropped).await, "CapBnd:\t0000000000000400\n");
}

async fn a_privileged_container_may_do_what_the_namespace_allows(mut ground: Ground) {
    let pod = ground.sandbox("mighty").await;
    let mut config = ground.script("main", "mount -t tmpfs none /tmp && echo mounted");
    config.security.privileged = true;
    assert_eq!(ground.output(&pod, &config).await, "mounted\n");
}

async fn the_user_comes_from_the_containers_own_files(mut ground: Ground) {
    let pod = ground.sandbox("who").await;
    for (attempt, user, id) in [
        (0, "www", "uid=33(www) gid=34(www) groups=34(www),7,40(logs)\n"),
        (1, "4711", "uid=4711 gid=0(root) groups=0(root),7\n"),
        (2, "33:40", "uid=33(www) gid=40(logs) groups=40(logs),7\n"),
    ] {
        let mut config = ground.script("main", "id");
        config.attempt = attempt;
        config.user = user.to_owned();
        config.supplemental_groups = vec![7];
        let output = ground.output(&pod, &config).await;
        let set = |line: &str| {
            let (ids, groups) = line
                .trim_end()
                .split_once(" groups=")
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .unwrap_or_default();
            let mut groups: Vec<String> = groups.split(',').map(str::to_owned).collect();
            groups.sort_unstable();
            groups.dedup();
            (ids, groups)
        };
        let (ids, mut groups) = set(&output);
        let (wanted_ids, wanted) = set(id);
        // Whether a process's own group is listed again is the runtime's choice.
        groups.retain(|group| wanted.contains(group));
        assert_eq!(ids, wanted_ids);
        assert!(groups.len() + 1 >= wanted.len(), "{output}");
    }
}

async fn the_working_directory_is_made_and_the_environment_has_defaults(mut ground: Ground) {
    let pod = ground.sandbox("place").await;
    let mut config = ground.script("main", "pwd; echo $PATH; echo $HOME; echo $ONE");
    config.cwd = "/not/there/yet".to_owned();
    config.user = "www".to_owned();
    config.env = vec!["ONE=1".to_owned()];
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(
        ground.output(&pod, &config).await,
        format!("/not/there/yet\n{path}\n/var/www\n1\n")
    );
}

async fn whiteouts_hide_and_a_deleted_directory_can_be_made_again(mut ground: Ground) {
    let pod = ground.sandbox("layers").await;
    let (lower, upper) = (ground.path().join("layers/lower"), ground.path().join("layers/upper"));
    for (dir, file) in [
        (&lower, "gone"),
        (&lower, "opaque/old"),
        (&lower, "plain/old"),
        (&upper, "opaque/new"),
    ] {
        let file = dir.join(file);
        fs::create_dir_all(file.parent().expect("it has one")).expect("the directory is writable");
        fs::write(file, "").expect("the directory is writable");
    }
    let kind = rustix::fs::FileType::CharacterDevice;
    let mode = rustix::fs::Mode::empty();
    rustix::fs::mknodat(rustix::fs::CWD, upper.join("gone"), kind, mode, 0).expect("whiteouts can be made");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(upper.join("opaque"), "user.overlay.opaque", b"y", flags).expect("attributes can be set");
    let mut config = ground.script(
        "main",
        "ls /gone 2>&1; ls /opaque; rm -r /plain && mkdir /plain && ls /plain; echo end",
    );
    config.layers.extend([lower, upper]);
    let output = ground.output(&pod, &config).await;
    assert_eq!(output, "ls: /gone: No such file or directory\nnew\nend\n");
}

async fn an_image_of_150_layers_works(mut ground: Ground) {
    let pod = ground.sandbox("deep").await;
    let mut config = ground.script("main", "cat /number; ls /many | wc -l");
    for number in 0..149 {
        let layer = ground
            .path()
            .join(format!("layers/a-layer-with-a-rather-long-name-{number:064}"));
        fs::create_dir_all(layer.join("many")).expect("the directory is writable");
        fs::write(layer.join("number"), format!("{number}\n")).expect("the directory is writable");
        fs::write(layer.join(format!("many/{number}")), "").expect("the directory is writable");
        config.layers.push(layer);
    }
    assert_eq!(ground.output(&pod, &config).await, "148\n149\n");
}

fn mount(container_path: &str, host_path: PathBuf, read_only: bool) -> Mount {
    Mount::of_host(container_path.to_owned(), host_path, read_only)
}

async fn mounts_are_made_where_asked_and_read_only_means_it(mut ground: Ground) {
    let pod = ground.sandbox("mounts").await;
    let host = ground.path().join("host");
    fs::create_dir_all(&host).expect("the directory is writable");
    fs::write(host.join("hosts"), "10.0.0.1 web\n").expect("the directory is writable");
    let script = "cat /etc/hosts; touch /data/written; touch /fixed/x 2>/dev/null || echo refused; ls /deep/er";
    let mut config = ground.script("main", script);
    config.mounts = vec![
        mount("/etc/hosts", host.join("hosts"), false),
        mount("/data", host.clone(), false),
        mount("/fixed", host.clone(), true),
        mount("/deep/er/file", host.join("hosts"), true),
    ];
    assert_eq!(ground.output(&pod, &config).await, "10.0.0.1 web\nrefused\nfile\n");
    assert!(host.join("written").exists());
}

async fn a_link_in_an_image_leads_no_mount_out_of_it(mut ground: Ground) {
    let pod = ground.sandbox("hostile").await;
    let (evil, outside) = (ground.path().join("layers/evil"), ground.path().join("outside"));
    fs::create_dir_all(&outside).expect("the directory is writable");
    fs::create_dir_all(&evil).expect("the directory is writable");
    symlink(&outside, evil.join("work")).expect("the directory is writable");
    symlink(
        format!("../../../../../../../..{}", outside.display()),
        evil.join("data"),
    )
    .expect("the directory is writable");
    let mut config = ground.script("main", "pwd; ls /work /data/dir");
    config.layers.push(evil);
    config.cwd = "/work/here".to_owned();
    config.mounts = vec![mount("/data/dir/made", ground.layer.clone(), true)];
    // It may work inside the root or be refused; it must not touch the outside.
    if ground.runtime.create_container(&pod, &config).await.is_ok()
        && ground.runtime.start_container(&pod, &config.id).await.is_ok()
    {
        ground.exit(&pod, &config.id).await;
    }
    assert_eq!(fs::read_dir(&outside).expect("it is there").count(), 0);
}

async fn a_read_only_root_is_read_only(mut ground: Ground) {
    let pod = ground.sandbox("fixed").await;
    let mut config = ground.script(
        "main",
        "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo shm",
    );
    config.security.read_only_rootfs = true;
    assert_eq!(ground.output(&pod, &config).await, "refused\nshm\n");
}

async fn system_directories_are_masked_and_read_only(mut ground: Ground) {
    let pod = ground.sandbox("masked").await;
    let script = "wc -c < /proc/keys; echo 1 2>/dev/null > /proc/sys/kernel/domainname || echo proc; \
                  mkdir /sys/fs/cgroup/x 2>/dev/null || echo cgroup; touch /sys/x 2>/dev/null || echo sys; \
                  echo > /dev/null && ls /dev/pts/ptmx && ls /dev/fd/0";
    let config = ground.script("main", script);
    assert_eq!(
        ground.output(&pod, &config).await,
        "0\nproc\ncgroup\nsys\n/dev/pts/ptmx\n/dev/fd/0\n"
    );
}

async fn the_hosts_network_is_the_hosts(mut ground: Ground) {
    let pod = ground
        .sandbox_with("outward", |config| config.host_network = true)
        .await;
    let config = ground.script("main", "cat /proc/net/dev | wc -l; hostname; ls /sys/class/net | wc -l");
    let lines = fs::read_to_string("/proc/net/dev")
        .expect("it can be read")
        .lines()
        .count();
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").expect("it can be read");
    let output = ground.output(&pod, &config).await;
    assert!(output.starts_with(&format!("{lines}\n{hostname}")), "{output}");
    assert!(Path::new("/sys/class/net").exists());
}

async fn yes_piped_into_head_ends(mut ground: Ground) {
    let pod = ground.sandbox("pipes").await;
    let config = ground.script("main", "yes | head -n 1");
    assert_eq!(ground.output(&pod, &config).await, "y\n");
    let config = ground.command("signals", &["grep", "SigIgn", "/proc/self/status"]);
    let output = ground.output(&pod, &config).await;
    let ignored = output
        .strip_prefix("SigIgn:\t")
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    // Beyond 31 are real-time signals, of which libc keeps two to itself.
    assert_eq!(ignored.map(|set| set & 0x7fff_ffff), Some(0), "{output}");
}

/// crun runs a copy of itself instead.
#[tokio::test]
async fn no_container_changes_the_program_of_its_supervisor() {
    let ground = Ground::new(None).await;
    let pod = ground.sandbox("thief").await;
    let main = ground.command("main", &["/proc/self/exe", "demo", "sleep", "forever"]);
    ground.start(&pod, &main).await;
    let thief = "cd /proc/1; until tr '\\0' ' ' < cmdline | grep -q 'demo sleep'; do sleep 0.01; done; head -c 4 exe | grep -c ELF
         for change in 'chmod 777' 'chown 1' 'touch'; do $change exe 2>&1 | grep -c 'Read-only file system'; done";
    let (code, output) = ground.exec(&pod, &main.id, &["sh", "-c", thief]).await;
    assert_eq!((code, output), (0, "1\n".repeat(4)));
}
