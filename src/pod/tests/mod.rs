//! Plans, as tables: a case is a base pod, what a mutator changes in it, and the plan that follows.

mod care;
mod resize;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::json;

use super::history::{BACK_OFF, SANDBOX, SPEC_HASH, container_hash};
use super::resize::resources_text;
use super::*;
use crate::runtime::{ContainerId, ContainerState, ContainerStatus, Exit, SandboxStatus};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).expect("a time")
}

/// Everything a plan is made from, owned.
struct World {
    pod: Pod,
    sandbox: Option<SandboxStatus>,
    failures: BTreeMap<String, Failure>,
    health: Health,
    endings: BTreeMap<ContainerId, Ending>,
    pulling: BTreeSet<String>,
    is_gone: bool,
    draining: Option<Draining>,
    now: Timestamp,
}

impl World {
    /// A pod of two containers, `a` and `b`, that both run.
    fn running() -> Self {
        let container = |name: &str| json!({"name": name, "image": "x"});
        let spec = json!({"restartPolicy": "Always", "containers": [container("a"), container("b")]});
        let pod = json!({"metadata": {"name": "web", "namespace": "default", "uid": "u"}, "spec": spec});
        let mut world = Self {
            pod: serde_json::from_value(pod).expect("a pod"),
            sandbox: Some(sandbox()),
            failures: BTreeMap::new(),
            health: Health::default(),
            endings: BTreeMap::new(),
            pulling: BTreeSet::new(),
            is_gone: false,
            draining: None,
            now: at(100),
        };
        world.run("a", 0, running());
        world.run("b", 0, running());
        world
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Puts a run on record, in place of an earlier one of the same attempt.
    fn run(&mut self, name: &str, attempt: u32, state: ContainerState) {
        let container = super::plan::container(&self.pod, name).expect("one of the pod's");
        let hash = container_hash(&container);
        let made = sandbox().created_at.to_string();
        let given = resources_text(&container);
        let annotations = [
            (SPEC_HASH, hash),
            (SANDBOX, made),
            (BACK_OFF, "0".to_owned()),
            (RESOURCES, given),
        ];
        let run = ContainerStatus {
            id: id(name, attempt),
            name: name.to_owned(),
            attempt,
            image: "x".into(),
            image_id: "sha256:0".into(),
            annotations: annotations.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            log_path: "/log".into(),
            state,
        };
        let runs = &mut self.sandbox.as_mut().expect("there is one").containers;
        runs.retain(|r| r.id != run.id);
        runs.push(run);
    }

    fn delay(&mut self, name: &str, attempt: u32, seconds: u64) {
        let runs = &mut self.sandbox.as_mut().expect("there is one").containers;
        let run = runs
            .iter_mut()
            .find(|r| r.id == id(name, attempt))
            .expect("it was put on record");
        run.annotations.insert(BACK_OFF.to_owned(), seconds.to_string());
    }

    fn spec(&mut self) -> &mut k8s_openapi::api::core::v1::PodSpec {
        self.pod.spec.as_mut().expect("it has one")
    }

    fn policy(&mut self, policy: &str) {
        self.spec().restart_policy = Some(policy.to_owned());
    }

    fn container(&mut self, index: usize, fields: serde_json::Value) {
        let container = &mut self.spec().containers[index];
        *container = with_fields(container, fields);
    }

    fn init(&mut self, names: &[&str]) {
        let containers = names.iter().map(|name| json!({"name": name, "image": "x"}));
        let containers = containers
            .map(|c| serde_json::from_value(c).expect("a container"))
            .collect();
        self.spec().init_containers = Some(containers);
        self.sandbox.as_mut().expect("there is one").containers.clear();
    }

    /// A run was told to end by then, and has got its signal.
    fn told(&mut self, name: &str, deadline: Timestamp) {
        let ending = Ending {
            deadline,
            in_hook: false,
            kill_at: Some(deadline),
        };
        self.endings.insert(id(name, 0), ending);
    }

    fn delete(&mut self, deadline: Timestamp) {
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(deadline);
        self.pod.metadata.deletion_timestamp = Some(time);
        self.pod.metadata.deletion_grace_period_seconds = Some(deadline.duration_since(self.now).as_secs());
    }

    fn plan(&self) -> Plan {
        plan_pod(Facts {
            pod: &self.pod,
            is_gone: self.is_gone,
            draining: self.draining,
            observed: self.sandbox.as_ref(),
            failures: &self.failures,
            health: &self.health,
            endings: &self.endings,
            pulling: &self.pulling,
            now: self.now,
        })
    }
}

/// The container with these fields besides its own.
fn with_fields(container: &Container, fields: serde_json::Value) -> Container {
    let mut value = serde_json::to_value(container).expect("string keys");
    for (field, inner) in fields.as_object().expect("fields") {
        value[field] = inner.clone();
    }
    serde_json::from_value(value).expect("a container")
}

fn id(name: &str, attempt: u32) -> ContainerId {
    ContainerId(format!("{name}{attempt}"))
}

fn sandbox() -> SandboxStatus {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web", "uid": "u"}})).expect("a pod");
    let config = config::sandbox_config(&pod, Given::default(), "crun".to_owned()).expect("a short name");
    SandboxStatus {
        config,
        alive: true,
        ips: Vec::new(),
        controllers: BTreeSet::new(),
        created_at: at(0),
        containers: Vec::new(),
    }
}

fn running() -> ContainerState {
    ContainerState::Running { started_at: at(1) }
}

fn exited(code: i32) -> ContainerState {
    ended_at(code, 1, 50)
}

fn ended_at(code: i32, started: i64, finished: i64) -> ContainerState {
    ContainerState::Exited(Exit {
        started_at: Some(at(started)),
        finished_at: at(finished),
        code,
        signal: None,
        reason: "Error".into(),
        message: String::new(),
        was_drained: false,
    })
}

fn settled() -> Plan {
    Plan::Settled { recheck: None }
}

fn start(name: &str, attempt: u32, back_off: u64) -> Plan {
    let start = Start {
        name: name.to_owned(),
        attempt,
        back_off: Duration::from_secs(back_off),
    };
    Plan::Converge(Converge {
        start: vec![start],
        ..Converge::default()
    })
}

/// A run is told, and gets its signal at once.
fn end(name: &str, message: &str, deadline: Timestamp) -> EndStep {
    EndStep {
        run: id(name, 0),
        tell: Some(message.to_owned()),
        runs_hook: false,
        deadline,
        signal: Some(deadline),
    }
}

/// A run that knows gets its signal, perhaps a nearer one.
fn signal(name: &str, deadline: Timestamp, kill_at: Timestamp) -> EndStep {
    EndStep {
        tell: None,
        signal: Some(kill_at),
        ..end(name, "", deadline)
    }
}

fn stopping(names: &[&str], deadline: Timestamp) -> Plan {
    let step = |name: &&str| end(name, &format!("Stopping container {name}"), deadline);
    Plan::End(names.iter().map(step).collect())
}

fn check(cases: Vec<(&str, World, Plan)>) {
    for (name, world, expected) in cases {
        assert_eq!(world.plan(), expected, "{name}");
    }
}

#[test]
fn a_pod_that_is_as_asked_is_left_alone() {
    check(vec![
        ("both run", World::running(), settled()),
        (
            "no sandbox",
            World::running().with(|w| w.sandbox = None),
            Plan::CreateSandbox,
        ),
        (
            "its supervisor died",
            World::running().with(|w| w.sandbox.as_mut().unwrap().alive = false),
            Plan::CreateSandbox,
        ),
    ]);
}

#[test]
fn containers_restart_by_policy() {
    let always = |code| World::running().with(|w| w.run("a", 0, exited(code)));
    let policy = |policy: &'static str, code| always(code).with(|w| w.policy(policy));
    check(vec![
        ("Always, failed", always(1), start("a", 1, 10)),
        ("Always, done", always(0), start("a", 1, 10)),
        ("OnFailure, failed", policy("OnFailure", 1), start("a", 1, 10)),
        ("OnFailure, done", policy("OnFailure", 0), settled()),
        ("Never, failed", policy("Never", 1), settled()),
    ]);
}

#[test]
fn back_off_doubles_to_five_minutes_and_a_good_run_ends_it() {
    let crashed = |attempt, delay, finished| {
        World::running().with(|w| {
            w.run("a", attempt, ended_at(1, finished - 1, finished));
            w.delay("a", attempt, delay);
        })
    };
    check(vec![
        ("the first restart is at once", crashed(0, 0, 99), start("a", 1, 10)),
        (
            "the second waits",
            crashed(1, 10, 95),
            Plan::Settled { recheck: Some(at(105)) },
        ),
        ("its time has come", crashed(1, 10, 90), start("a", 2, 20)),
        ("at most five minutes", crashed(9, 300, -300), start("a", 10, 300)),
        (
            "ten good minutes",
            crashed(9, 300, 99).with(|w| w.run("a", 9, ended_at(1, -600, 99))),
            start("a", 10, 10),
        ),
    ]);
}

#[test]
fn init_containers_run_one_by_one_before_all_others() {
    let base = || World::running().with(|w| w.init(&["i", "j"]));
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
        ("the first", base(), start("i", 0, 0)),
        ("it runs", base().with(|w| w.run("i", 0, running())), settled()),
        (
            "it failed",
            base().with(|w| w.run("i", 0, exited(1))),
            start("i", 1, 10),
        ),
        (
            "the second",
            base().with(|w| w.run("i", 0, exited(0))),
            start("j", 0, 0),
        ),
        (
            "all done",
            base().with(|w| {
                w.run("i", 0, exited(0));
                w.run("j", 0, exited(0));
            }),
            Plan::Converge(both),
        ),
        (
            "failed for good",
            base().with(|w| {
                w.policy("Never");
                w.run("i", 0, exited(1));
            }),
            Plan::StopSandbox,
        ),
    ]);
}

#[test]
fn a_pod_that_has_ended_for_good_gives_its_sandbox_up() {
    let done = || {
        World::running().with(|w| {
            w.policy("Never");
            w.run("a", 0, exited(0));
            w.run("b", 0, exited(1));
        })
    };
    check(vec![
        ("its supervisor lives", done(), Plan::StopSandbox),
        (
            "and then no more",
            done().with(|w| w.sandbox.as_mut().unwrap().alive = false),
            settled(),
        ),
        (
            "a phase once told holds",
            World::running().with(|w| {
                w.sandbox = None;
                w.pod.status = serde_json::from_value(json!({"phase": "Failed"})).ok();
            }),
            settled(),
        ),
    ]);
}

#[test]
fn a_deleted_pod_ends_within_its_grace_and_not_later() {
    let deleted = || World::running().with(|w| w.delete(at(130)));
    let told = |deadline| {
        deleted().with(|w| {
            w.told("a", deadline);
            w.told("b", deadline);
        })
    };
    let nearer = Plan::End(["a", "b"].map(|name| signal(name, at(130), at(130))).into());
    check(vec![
        ("all are told at once", deleted(), stopping(&["a", "b"], at(130))),
        (
            "told once is enough",
            told(at(130)),
            Plan::Settled { recheck: Some(at(135)) },
        ),
        ("the grace shrank", told(at(160)), nearer),
        (
            "gone without waiting",
            World::running().with(|w| w.is_gone = true),
            stopping(&["a", "b"], at(100)),
        ),
        ("what even SIGKILL did not end", told(at(90)), Plan::Finish),
        (
            "nothing runs",
            deleted().with(|w| {
                w.run("a", 0, exited(0));
                w.run("b", 0, exited(0));
            }),
            Plan::Finish,
        ),
        ("no sandbox", deleted().with(|w| w.sandbox = None), Plan::Finish),
    ]);
}

#[test]
fn a_drained_pod_ends_as_its_spec_says_and_rests() {
    let drained = || World::running().with(|w| w.draining = Some(Draining::default()));
    let most = |seconds| {
        let most = Some(jiff::SignedDuration::from_secs(seconds));
        drained().with(move |w| w.draining = Some(Draining { most }))
    };
    check(vec![
        (
            "no more than there is time for",
            most(10),
            stopping(&["a", "b"], at(110)),
        ),
        ("no more than they want", most(40), stopping(&["a", "b"], at(130))),
        ("all are told", drained(), stopping(&["a", "b"], at(130))),
        (
            "nothing runs any more",
            drained().with(|w| {
                w.run("a", 0, exited(0));
                w.run("b", 0, exited(0));
            }),
            Plan::StopSandbox,
        ),
        ("no sandbox", drained().with(|w| w.sandbox = None), Plan::Rest),
        (
            "one that is deleted as well goes",
            drained().with(|w| {
                w.delete(at(130));
                w.sandbox = None;
            }),
            Plan::Finish,
        ),
    ]);
}

#[test]
fn what_ended_because_the_node_did_runs_again_at_once_and_counts_for_nothing() {
    let drained = |code, policy: &str| {
        World::running().with(|w| {
            w.policy(policy);
            let ContainerState::Exited(exit) = exited(code) else {
                unreachable!("it has exited")
            };
            let exit = Exit {
                was_drained: true,
                ..exit
            };
            w.run("a", 0, ContainerState::Exited(exit));
            w.delay("a", 0, 40);
            w.now = at(51);
        })
    };
    for policy in ["Always", "OnFailure", "Never"] {
        for code in [0, 143] {
            assert_eq!(drained(code, policy).plan(), start("a", 1, 40), "{policy} {code}");
        }
    }
    let all_of_it = drained(0, "Never").with(|w| w.run("b", 0, exited(0)));
    assert_eq!(all_of_it.plan(), start("a", 1, 40), "it is not over");
    assert_eq!(all_of_it.status()["phase"], "Running");
}

#[test]
fn what_could_not_be_started_is_tried_again_later_each_time() {
    let failed = |tries| {
        World::running().with(|w| {
            w.sandbox.as_mut().unwrap().containers.retain(|run| run.name == "b");
            let failure = Failure {
                reason: "ErrImageNeverPull",
                message: String::new(),
                at: at(95),
                tries,
            };
            w.failures.insert("a".to_owned(), failure);
        })
    };
    check(vec![
        ("after ten seconds", failed(1), Plan::Settled { recheck: Some(at(105)) }),
        ("after twenty", failed(2), Plan::Settled { recheck: Some(at(115)) }),
        (
            "after five minutes at most",
            failed(99),
            Plan::Settled { recheck: Some(at(395)) },
        ),
        ("now", failed(1).with(|w| w.now = at(105)), start("a", 0, 0)),
    ]);
}

#[test]
fn a_container_whose_image_is_on_its_way_waits_and_the_others_do_not() {
    let pulling = || {
        World::running().with(|w| {
            w.sandbox.as_mut().unwrap().containers.clear();
            w.pulling.insert("a".to_owned());
        })
    };
    check(vec![
        ("the other starts", pulling(), start("b", 0, 0)),
        (
            "nothing is to be done",
            pulling().with(|w| w.run("b", 0, running())),
            settled(),
        ),
        (
            "a deleted pod does not wait",
            pulling().with(|w| w.delete(at(99))),
            Plan::Finish,
        ),
    ]);
}

#[test]
fn a_failed_pull_is_looked_at_again_when_it_is_shown_as_waiting() {
    let failed = |now| {
        World::running().with(|w| {
            w.sandbox.as_mut().unwrap().containers.retain(|run| run.name == "b");
            let failure = Failure {
                reason: pull::PULL_FAILURE,
                message: String::new(),
                at: at(95),
                tries: 1,
            };
            w.failures.insert("a".to_owned(), failure);
            w.now = at(now);
        })
    };
    check(vec![
        ("as failed", failed(95), Plan::Settled { recheck: Some(at(97)) }),
        ("as waiting", failed(97), Plan::Settled { recheck: Some(at(105)) }),
        ("tried again", failed(105), start("a", 0, 0)),
    ]);
}

#[test]
fn a_changed_container_is_stopped_once_and_started_anew() {
    let changed = || World::running().with(|w| w.spec().containers[0].image = Some("y".to_owned()));
    let stop = Converge {
        end: vec![end("a", "Container a definition changed, will be restarted", at(130))],
        ..Converge::default()
    };
    check(vec![
        ("it is stopped", changed(), Plan::Converge(stop)),
        ("once", changed().with(|w| w.told("a", at(130))), settled()),
        (
            "and started",
            changed().with(|w| w.run("a", 0, exited(143))),
            start("a", 1, 10),
        ),
    ]);
}

#[test]
fn old_runs_are_forgotten_and_half_made_ones_replaced() {
    let forget = |runs: &[ContainerId], plan: Plan| match plan {
        Plan::Converge(steps) => Plan::Converge(Converge {
            forget: runs.to_vec(),
            ..steps
        }),
        _ => Plan::Converge(Converge {
            forget: runs.to_vec(),
            ..Converge::default()
        }),
    };
    let third = World::running().with(|w| {
        w.run("a", 0, exited(1));
        w.run("a", 1, exited(1));
        w.run("a", 2, running());
    });
    let half = World::running().with(|w| w.run("a", 0, ContainerState::Created));
    check(vec![
        ("the last two are kept", third, forget(&[id("a", 0)], settled())),
        ("made but not started", half, forget(&[id("a", 0)], start("a", 0, 0))),
    ]);
}

/// Gives the pod ephemeral containers.
fn with_ephemeral(world: &mut World, names: &[&str]) {
    let containers = names.iter().map(|name| json!({"name": name, "image": "x"}));
    let containers = containers
        .map(|c| serde_json::from_value(c).expect("a container"))
        .collect();
    world.spec().ephemeral_containers = Some(containers);
}

#[test]
fn ephemeral_containers_start_once_whatever_the_others_do() {
    let fresh = World::running().with(|w| with_ephemeral(w, &["debug"]));
    assert_eq!(fresh.plan(), start("debug", 0, 0));
    // They wait for no init container.
    let early = World::running().with(|w| {
        w.init(&["setup"]);
        w.run("setup", 0, running());
        with_ephemeral(w, &["debug"]);
    });
    assert_eq!(early.plan(), start("debug", 0, 0));
    for state in [running(), exited(0), exited(1)] {
        let once = World::running().with(|w| {
            with_ephemeral(w, &["debug"]);
            w.run("debug", 0, state.clone());
        });
        assert_eq!(once.plan(), settled(), "{state:?}");
    }
}

#[test]
fn a_pod_is_over_with_an_ephemeral_container_that_still_runs() {
    let over = World::running().with(|w| {
        w.policy("Never");
        w.run("a", 0, exited(0));
        w.run("b", 0, exited(0));
        with_ephemeral(w, &["debug"]);
        w.run("debug", 0, running());
    });
    let Plan::End(steps) = over.plan() else {
        panic!("{:?}", over.plan())
    };
    let ended: Vec<_> = steps.iter().map(|step| step.run.0.as_str()).collect();
    assert_eq!(ended, ["debug0"]);
    let seen = |name: &str| {
        over.sandbox
            .as_ref()
            .map(|s| super::ephemeral::target(&over.pod, name, s))
    };
    assert_eq!(seen("debug"), Some(Ok(None)));
}

#[test]
fn a_target_is_a_run_that_runs() {
    let mut world = World::running();
    with_ephemeral(&mut world, &["debug"]);
    let target = |world: &World| {
        let sandbox = world.sandbox.as_ref().expect("there is one");
        super::ephemeral::target(&world.pod, "debug", sandbox)
    };
    let aim = |world: &mut World| {
        let own = world.spec().ephemeral_containers.as_mut().expect("set");
        own[0].target_container_name = Some("a".to_owned());
    };
    aim(&mut world);
    assert_eq!(target(&world), Ok(Some(id("a", 0))));
    world.run("a", 0, exited(1));
    assert!(target(&world).is_err_and(|error| error.contains("\"a\"")));
}

#[test]
fn a_containers_own_policy_and_rules_count_before_the_pods() {
    let rule = |operator: &str| json!([{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]);
    let again = start("a", 1, 10);
    for (fields, code, plan) in [
        (json!({}), 1, settled()),
        (json!({"restartPolicy": "OnFailure"}), 1, again.clone()),
        (json!({"restartPolicy": "OnFailure"}), 0, settled()),
        (
            json!({"restartPolicy": "Never", "restartPolicyRules": rule("In")}),
            42,
            again.clone(),
        ),
        (
            json!({"restartPolicy": "Never", "restartPolicyRules": rule("In")}),
            1,
            settled(),
        ),
        (
            json!({"restartPolicy": "Never", "restartPolicyRules": rule("NotIn")}),
            1,
            again,
        ),
        (
            json!({"restartPolicy": "Never", "restartPolicyRules": rule("NotIn")}),
            42,
            settled(),
        ),
    ] {
        let world = World::running().with(|w| {
            w.policy("Never");
            w.container(0, fields.clone());
            w.run("a", 0, exited(code));
        });
        assert_eq!(world.plan(), plan, "{fields} {code}");
    }
}
