//! Plans that follow from probes, hooks, sidecars and deadlines, and what the status says of them.

use serde_json::{Value, json};

use super::*;
use crate::probe::ProbeKind;
use crate::status::{StatusFacts, pod_status};

fn probe(fields: Value) -> Value {
    let mut probe = json!({"exec": {"command": ["x"]}});
    for (field, inner) in fields.as_object().expect("fields") {
        probe[field] = inner.clone();
    }
    probe
}

/// `a` has these fields; both run.
fn with_a(fields: Value) -> World {
    World::running().with(|w| {
        w.container(0, fields);
        w.run("a", 0, running());
    })
}

fn converge(steps: Converge) -> Plan {
    Plan::Converge(steps)
}

fn ends(step: EndStep) -> Plan {
    converge(Converge {
        end: vec![step],
        ..Converge::default()
    })
}

impl World {
    fn result(&mut self, name: &str, kind: ProbeKind, passed: bool) {
        self.health.results.set(id(name, 0), kind, passed);
    }

    fn in_post_start(&mut self, state: PostStart) {
        self.health.post_start.insert(id("a", 0), state);
    }

    /// Puts a sidecar before the containers, none of which has run.
    fn sidecar(&mut self, fields: Value) {
        self.init(&["s"]);
        let init = &mut self.spec().init_containers.as_mut().expect("set")[0];
        *init = with_fields(init, json!({"restartPolicy": "Always"}));
        *init = with_fields(init, fields);
    }

    pub(super) fn status(&self) -> Value {
        let status = pod_status(StatusFacts {
            pod: &self.pod,
            observed: self.sandbox.as_ref(),
            failures: &self.failures,
            resize: None,
            health: &self.health,
            host_ips: &[],
            now: self.now,
        });
        serde_json::to_value(status).expect("string keys")
    }

    pub(super) fn says(&mut self, status: Value) {
        self.pod.status = Some(serde_json::from_value(status).expect("a status"));
    }

    /// `type=status` of every condition.
    fn conditions(&self) -> String {
        let status = self.status();
        let conditions = status["conditions"].as_array().expect("a list");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let shown = conditions
            .iter()
            .map(|c| format!("{}={}", text(&c["type"]), text(&c["status"])));
        shown.collect::<Vec<_>>().join(" ")
    }

    fn condition(&self, kind: &str) -> Value {
        let status = self.status();
        let conditions = status["conditions"].as_array().expect("a list");
        conditions
            .iter()
            .find(|c| c["type"] == kind)
            .cloned()
            .unwrap_or_default()
    }

    fn probes(&self, is_ending: bool) -> String {
        let sandbox = self.sandbox.as_ref().expect("there is one");
        let planned = plan_probes(&self.pod, sandbox, &self.health, is_ending, self.now);
        let shown = planned.keys().map(|(run, kind)| format!("{run} {kind}"));
        shown.collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn a_failed_liveness_or_startup_probe_ends_the_container_and_the_policy_restarts_it() {
    let liveness =
        |fields| with_a(json!({"livenessProbe": probe(fields)})).with(|w| w.result("a", ProbeKind::Liveness, false));
    let startup = || with_a(json!({"startupProbe": probe(json!({}))}));
    let message = |kind: &str| format!("Container a failed {kind} probe, will be restarted");
    check(vec![
        (
            "it passes",
            liveness(json!({})).with(|w| w.result("a", ProbeKind::Liveness, true)),
            settled(),
        ),
        (
            "it fails",
            liveness(json!({})),
            ends(end("a", &message("liveness"), at(130))),
        ),
        (
            "with a grace of its own",
            liveness(json!({"terminationGracePeriodSeconds": 3})),
            ends(end("a", &message("liveness"), at(103))),
        ),
        (
            "and is not restarted",
            liveness(json!({})).with(|w| w.policy("Never")),
            ends(end("a", "Container a failed liveness probe", at(130))),
        ),
        (
            "it was told",
            liveness(json!({})).with(|w| w.told("a", at(130))),
            settled(),
        ),
        (
            "it ended and starts again",
            liveness(json!({})).with(|w| w.run("a", 0, exited(137))),
            start("a", 1, 10),
        ),
        ("it has not started yet", startup(), settled()),
        (
            "it never starts",
            startup().with(|w| w.result("a", ProbeKind::Startup, false)),
            ends(end("a", &message("startup"), at(130))),
        ),
        (
            "readiness restarts nobody",
            with_a(json!({"readinessProbe": probe(json!({}))})).with(|w| w.result("a", ProbeKind::Readiness, false)),
            settled(),
        ),
    ]);
}

#[test]
fn probes_are_asked_of_containers_that_run_and_the_startup_probe_goes_first() {
    let all = || {
        let probe = probe(json!({}));
        with_a(json!({"startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe}))
    };
    let started = || all().with(|w| w.result("a", ProbeKind::Startup, true));
    for (name, world, is_ending, expected) in [
        ("no probes", World::running(), false, ""),
        ("the startup probe alone", all(), false, "a0 Startup"),
        ("it passed", started(), false, "a0 Liveness, a0 Readiness"),
        (
            "it failed",
            all().with(|w| w.result("a", ProbeKind::Startup, false)),
            false,
            "",
        ),
        (
            "a former node saw it pass",
            all().with(|w| {
                let status = json!({"name": "a", "containerID": "kubelocal://a0", "started": true, "ready": true, "restartCount": 0, "image": "x", "imageID": "x"});
                w.says(json!({"containerStatuses": [status]}));
            }),
            false,
            "a0 Liveness, a0 Readiness",
        ),
        (
            "it does not live",
            started().with(|w| w.result("a", ProbeKind::Liveness, false)),
            false,
            "a0 Readiness",
        ),
        ("its pod ends", started(), true, "a0 Readiness"),
        ("it has ended", started().with(|w| w.run("a", 0, exited(1))), false, ""),
        (
            "its hook is not done",
            started().with(|w| w.in_post_start(PostStart::Runs)),
            false,
            "",
        ),
        (
            "it is about to be replaced",
            started().with(|w| w.spec().containers[0].image = Some("y".into())),
            false,
            "",
        ),
    ] {
        assert_eq!(world.probes(is_ending), expected, "{name}");
    }
}

#[test]
fn a_container_is_ready_when_its_probe_says_so() {
    let readiness = || with_a(json!({"readinessProbe": probe(json!({}))}));
    let both = || with_a(json!({"readinessProbe": probe(json!({})), "startupProbe": probe(json!({}))}));
    for (name, world, expected) in [
        ("without a probe", World::running(), (true, true)),
        ("not asked yet", readiness(), (true, false)),
        (
            "it is ready",
            readiness().with(|w| w.result("a", ProbeKind::Readiness, true)),
            (true, true),
        ),
        (
            "it is not",
            readiness().with(|w| w.result("a", ProbeKind::Readiness, false)),
            (true, false),
        ),
        (
            "but has not started",
            both().with(|w| w.result("a", ProbeKind::Readiness, true)),
            (false, false),
        ),
        (
            "in its hook",
            World::running().with(|w| w.in_post_start(PostStart::Runs)),
            (false, false),
        ),
    ] {
        let status = world.status();
        let a = &status["containerStatuses"][0];
        assert_eq!((a["started"] == true, a["ready"] == true), expected, "{name}");
        assert_eq!(world.condition("Ready")["status"] == "True", expected.1, "{name}");
    }
    let hooked = World::running().with(|w| w.in_post_start(PostStart::Runs));
    assert_eq!(
        hooked.status()["containerStatuses"][0]["state"]["waiting"]["reason"],
        "ContainerCreating"
    );
}

#[test]
fn readiness_gates_hold_ready_and_nothing_else() {
    let gated = || {
        World::running().with(|w| {
            w.spec().readiness_gates = serde_json::from_value(json!([{"conditionType": "example.com/x"}])).ok();
        })
    };
    let with =
        |status: &str| gated().with(|w| w.says(json!({"conditions": [{"type": "example.com/x", "status": status}]})));
    assert_eq!(gated().condition("ContainersReady")["status"], "True");
    let ready = gated().condition("Ready");
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("False"), &json!("ReadinessGatesNotReady"))
    );
    assert_eq!(
        ready["message"],
        "corresponding condition of pod readiness gate \"example.com/x\" does not exist."
    );
    assert_eq!(
        with("False").condition("Ready")["message"],
        "the status of pod readiness gate \"example.com/x\" is not \"True\", but False"
    );
    assert_eq!(with("True").condition("Ready")["status"], "True");
}

#[test]
fn a_post_start_hook_holds_the_containers_behind_its_own() {
    let hook = json!({"lifecycle": {"postStart": {"exec": {"command": ["x"]}}}});
    let fresh = || {
        World::running().with(|w| {
            w.container(0, hook.clone());
            w.sandbox.as_mut().expect("there is one").containers.clear();
        })
    };
    let started = || fresh().with(|w| w.run("a", 0, running()));
    let state = |state| started().with(|w| w.in_post_start(state));
    let failed = Converge {
        end: vec![end("a", "FailedPostStartHook", at(130))],
        ..Converge::default()
    };
    check(vec![
        ("its container first", fresh(), start("a", 0, 0)),
        ("the hook runs", state(PostStart::Runs), settled()),
        ("the hook is done", started(), start("b", 0, 0)),
        (
            "the hook failed",
            state(PostStart::Failed).with(|w| w.run("b", 0, running())),
            converge(failed),
        ),
    ]);
}

#[test]
fn a_pre_stop_hook_runs_before_the_signal_and_on_the_graces_time() {
    let hook = json!({"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}});
    let deleted = || with_a(hook.clone()).with(|w| w.delete(at(130)));
    let told = |in_hook, deadline| {
        deleted().with(|w| {
            w.told("b", at(130));
            let ending = Ending {
                deadline,
                in_hook,
                kill_at: None,
            };
            w.endings.insert(id("a", 0), ending);
        })
    };
    let begin = EndStep {
        runs_hook: true,
        signal: None,
        ..end("a", "Stopping container a", at(130))
    };
    check(vec![
        (
            "the hook begins, and who has none gets the signal",
            deleted(),
            Plan::End(vec![end("b", "Stopping container b", at(130)), begin]),
        ),
        ("it runs", told(true, at(130)), Plan::Settled { recheck: Some(at(130)) }),
        (
            "it is done",
            told(false, at(130)),
            Plan::End(vec![signal("a", at(130), at(130))]),
        ),
        (
            "it took nearly all of the grace",
            told(false, at(101)),
            Plan::End(vec![signal("a", at(101), at(102))]),
        ),
        (
            "it took more",
            told(true, at(95)),
            Plan::End(vec![signal("a", at(95), at(102))]),
        ),
        (
            "gone without waiting",
            with_a(hook.clone()).with(|w| w.is_gone = true),
            stopping(&["b", "a"], at(100)),
        ),
    ]);
}

#[test]
fn sidecars_start_before_the_others_and_stay() {
    let base = || World::running().with(|w| w.sidecar(json!({})));
    let slow = || World::running().with(|w| w.sidecar(json!({"startupProbe": probe(json!({}))})));
    let up = |w: &mut World| {
        w.run("s", 0, running());
        w.run("a", 0, running());
        w.run("b", 0, running());
    };
    let both = Converge {
        start: ["a", "b"]
            .map(|n| Start {
                name: n.into(),
                attempt: 0,
                back_off: Duration::ZERO,
            })
            .into(),
        ..Converge::default()
    };
    check(vec![
        ("it comes first", base(), start("s", 0, 0)),
        (
            "then the others",
            base().with(|w| w.run("s", 0, running())),
            converge(both.clone()),
        ),
        (
            "it has not started",
            slow().with(|w| w.run("s", 0, running())),
            settled(),
        ),
        (
            "it has",
            slow().with(|w| {
                w.run("s", 0, running());
                w.result("s", ProbeKind::Startup, true);
            }),
            converge(both),
        ),
        ("all run", base().with(up), settled()),
        (
            "it restarts whatever the pod's policy",
            base().with(up).with(|w| {
                w.policy("Never");
                w.run("s", 0, exited(0));
            }),
            start("s", 1, 10),
        ),
    ]);
    let status = base().with(up).status();
    let sidecar = &status["initContainerStatuses"][0];
    assert_eq!((&sidecar["started"], &sidecar["ready"]), (&json!(true), &json!(true)));
    assert_eq!(status["phase"], "Running");
    let unready = World::running().with(|w| {
        w.sidecar(json!({"readinessProbe": probe(json!({}))}));
        up(w);
    });
    let expected =
        "PodReadyToStartContainers=True Initialized=True Ready=False ContainersReady=False PodScheduled=True";
    assert_eq!(unready.conditions(), expected);
}

#[test]
fn a_sidecar_that_ends_takes_neither_phase_nor_initialized_back() {
    let pod = |a: ContainerState| {
        World::running().with(|w| {
            w.sidecar(json!({}));
            w.policy("Never");
            w.run("s", 0, exited(1));
            w.run("a", 0, a);
            w.run("b", 0, exited(0));
        })
    };
    let runs = pod(running());
    assert_eq!(runs.status()["phase"], "Running");
    assert!(runs.conditions().contains("Initialized=True"), "{}", runs.conditions());
    let was_running = pod(running()).with(|w| w.says(json!({"phase": "Running"})));
    assert_eq!(was_running.status()["phase"], "Running");
    let failed = pod(exited(3)).with(|w| w.run("s", 0, exited(0)));
    assert_eq!(failed.status()["phase"], "Failed");
    assert!(
        failed.conditions().contains("Initialized=True"),
        "{}",
        failed.conditions()
    );
    assert_eq!(failed.status()["initContainerStatuses"][0]["ready"], false);
}

#[test]
fn a_containers_status_says_who_it_runs_as() {
    let of = |text: &str| {
        let world = World::running().with(|w| {
            let run = &mut w.sandbox.as_mut().expect("there is one").containers[0];
            run.annotations
                .insert(crate::runtime::RUN_USER.to_owned(), text.to_owned());
        });
        world.status()["containerStatuses"][0]["user"]["linux"].clone()
    };
    let user = |groups: &[i64]| json!({"uid": 1000, "gid": 3000, "supplementalGroups": groups});
    assert_eq!(of("1000:3000:4000,50000"), user(&[3000, 4000, 50000]));
    assert_eq!(of("1000:3000:"), user(&[3000]));
    assert_eq!(of("garbage"), Value::Null);
}

#[test]
fn a_deleted_pod_of_which_nothing_runs_has_come_to_its_last_phase() {
    for (code, phase) in [(0, "Succeeded"), (137, "Failed")] {
        let ended = World::running().with(|w| {
            w.says(json!({"phase": "Running"}));
            w.run("a", 0, exited(0));
            w.delete(at(130));
        });
        assert_eq!(ended.status()["phase"], "Running", "b runs");
        let ended = ended.with(|w| w.run("b", 0, exited(code)));
        assert_eq!(ended.status()["phase"], phase);
    }
}

#[test]
fn sidecars_end_last_and_in_reverse_order() {
    let deleted = || {
        World::running().with(|w| {
            w.init(&["s", "t"]);
            for init in w.spec().init_containers.as_mut().expect("set") {
                *init = with_fields(init, json!({"restartPolicy": "Always"}));
            }
            for name in ["s", "t", "a", "b"] {
                w.run(name, 0, running());
            }
            w.delete(at(130));
        })
    };
    let waits = |name: &str| EndStep {
        signal: None,
        ..end(name, &format!("Stopping container {name}"), at(130))
    };
    let stop = |name: &str| end(name, &format!("Stopping container {name}"), at(130));
    let told = || {
        deleted().with(|w| {
            w.told("a", at(130));
            w.told("b", at(130));
            for name in ["s", "t"] {
                let ending = Ending {
                    deadline: at(130),
                    in_hook: false,
                    kill_at: None,
                };
                w.endings.insert(id(name, 0), ending);
            }
        })
    };
    let gone = |w: &mut World, names: &[&str]| names.iter().for_each(|name| w.run(name, 0, exited(0)));
    check(vec![
        (
            "all are told",
            deleted(),
            Plan::End(vec![waits("s"), waits("t"), stop("a"), stop("b")]),
        ),
        (
            "the others first",
            told().with(|w| gone(w, &["a"])),
            Plan::Settled { recheck: Some(at(130)) },
        ),
        (
            "then the last",
            told().with(|w| gone(w, &["a", "b"])),
            Plan::End(vec![signal("t", at(130), at(130))]),
        ),
        (
            "then the first",
            told().with(|w| gone(w, &["a", "b", "t"])),
            Plan::End(vec![signal("s", at(130), at(130))]),
        ),
        (
            "nobody waits longer than the grace",
            told().with(|w| {
                w.now = at(130);
                w.pod.metadata.deletion_grace_period_seconds = Some(30);
            }),
            Plan::End(vec![signal("s", at(130), at(132)), signal("t", at(130), at(132))]),
        ),
    ]);
}

#[test]
fn a_pod_is_done_when_its_containers_are_and_then_its_sidecars_end() {
    let done = |code| {
        World::running().with(|w| {
            w.policy("Never");
            w.sidecar(json!({}));
            w.run("s", 0, running());
            w.run("a", 0, exited(0));
            w.run("b", 0, exited(code));
        })
    };
    check(vec![
        ("the sidecar runs on", done(0), stopping(&["s"], at(130))),
        (
            "and has ended",
            done(0).with(|w| w.run("s", 0, exited(137))),
            Plan::StopSandbox,
        ),
    ]);
    assert_eq!(done(0).status()["phase"], "Running");
    for (code, phase) in [(0, "Succeeded"), (1, "Failed")] {
        let over = done(code).with(|w| w.run("s", 0, exited(137)));
        assert_eq!(over.status()["phase"], phase, "a sidecar's own end does not count");
    }
}

#[test]
fn a_pod_whose_time_is_over_has_failed() {
    let limited = |seconds| {
        World::running().with(|w| {
            w.spec().active_deadline_seconds = Some(seconds);
            w.says(json!({"startTime": at(0).to_string(), "phase": "Running"}));
        })
    };
    let over = |w: &mut World| {
        w.run("a", 0, exited(143));
        w.run("b", 0, exited(0));
    };
    check(vec![
        ("there is time", limited(150), Plan::Settled { recheck: Some(at(150)) }),
        ("it is over", limited(100), stopping(&["a", "b"], at(130))),
        ("all have ended", limited(100).with(over), Plan::StopSandbox),
    ]);
    let status = limited(100).with(over).status();
    assert_eq!(
        (&status["phase"], &status["reason"]),
        (&json!("Failed"), &json!("DeadlineExceeded"))
    );
    assert_eq!(limited(100).status()["phase"], "Running");
    assert_eq!(limited(150).status()["reason"], Value::Null);
}

#[test]
fn what_a_container_said_at_its_end_stands_in_its_status() {
    let said = |world: World| {
        let a = world.status()["containerStatuses"][0].clone();
        let of = |state: &str| a[state]["terminated"]["message"].as_str().unwrap_or("-").to_owned();
        (of("state"), of("lastState"))
    };
    let ended = || {
        World::running().with(|w| {
            w.policy("Never");
            w.run("a", 0, exited(1));
            w.health.messages.insert(id("a", 0), "no disk".to_owned());
        })
    };
    assert_eq!(said(ended()), ("no disk".into(), "-".into()));
    let again = ended().with(|w| w.run("a", 1, running()));
    assert_eq!(said(again), ("-".into(), "no disk".into()));
}
