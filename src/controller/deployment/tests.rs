use serde_json::{Value, json};

use super::*;
use crate::controller::fixtures::{Fixture, at, deployment, pod, replica_set, time, words, written};

/// Plans at second 100.
fn plan(deployment: &Fixture, sets: &[Fixture]) -> Plan {
    plan_with_pods(deployment, sets, &[])
}

fn plan_with_pods(deployment: &Fixture, sets: &[Fixture], pods: &[Fixture]) -> Plan {
    let shared = |fixtures: &[Fixture]| fixtures.iter().map(Fixture::shared).collect::<Vec<_>>();
    plan_deployment(&deployment.object(), &shared(sets), &shared(pods), at(100))
}

/// What a plan scales: `new 0→3`.
fn scaled(plan: &Plan) -> Vec<String> {
    let told = words(plan).into_iter();
    let scaled = told.filter_map(|word| word.strip_prefix("tell ScalingReplicaSet: ").map(str::to_owned));
    scaled
        .map(|message| {
            let words: Vec<_> = message.split(' ').collect();
            format!("{} {}→{}", words[4], words[6], words[8])
        })
        .collect()
}

fn status(plan: &Plan) -> &Value {
    &written(plan, "status deployment.apps/web").value()["status"]
}

fn condition<'a>(plan: &'a Plan, kind: &str) -> &'a Value {
    let conditions = status(plan)["conditions"].as_array().expect("a list");
    conditions.iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

fn progressing(reason: &str, status: &str, updated: i64) -> Value {
    json!([{
        "type": "Progressing", "status": status, "reason": reason, "message": "",
        "lastUpdateTime": time(updated), "lastTransitionTime": time(0),
    }])
}

/// A Deployment that wants version 2 of ten pods with three more and two fewer at most, and its two ReplicaSets.
struct Rollout {
    deployment: Fixture,
    old: Fixture,
    new: Fixture,
}

fn rollout() -> Rollout {
    let deployment = deployment("web").image("v2").replicas(10).rolling(3, 2);
    let set = |name| replica_set(name).of(&deployment).fitted_to(10, 13);
    Rollout {
        old: set("old").image("v1").revision(1),
        new: set("new").image("v2").revision(2).created(50),
        deployment,
    }
}

impl Rollout {
    fn plan(self) -> Plan {
        plan(&self.deployment, &[self.old, self.new])
    }

    /// Sizes of the old and the new ReplicaSet, and how many of each are available.
    fn sized(mut self, old: (i64, i64), new: (i64, i64)) -> Self {
        self.old = self.old.sized(old.0, old.1);
        self.new = self.new.sized(new.0, new.1);
        self
    }
}

#[test]
fn the_first_pass_makes_a_replica_set() {
    let web = deployment("web").replicas(3).annotation("team", "shop");
    let plan = plan(&web, &[]);
    let [create, told, status] = words(&plan).try_into().expect("three steps");
    let name = create.strip_prefix("create replicaset.apps/").expect("a ReplicaSet");
    assert_eq!(
        told,
        format!("tell ScalingReplicaSet: Scaled up replica set {name} from 0 to 3")
    );
    assert_eq!(status, "status deployment.apps/web");
    let set = written(&plan, &create);
    let hash = name
        .strip_prefix("web-")
        .expect("the Deployment's name before the hash");
    let expected = json!({
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web", "pod-template-hash": hash}},
        "template": {
            "metadata": {"labels": {"app": "web", "pod-template-hash": hash}},
            "spec": {"containers": [{"name": "app", "image": "v1"}]},
        },
    });
    assert_eq!(set.value()["spec"], expected);
    assert_eq!(set.controller().expect("owned").name, "web");
    assert_eq!(set.labels()["pod-template-hash"], hash);
    let annotations = [
        ("deployment.kubernetes.io/desired-replicas", "3"),
        ("deployment.kubernetes.io/max-replicas", "4"),
        ("deployment.kubernetes.io/revision", "1"),
        ("team", "shop"),
    ];
    assert_eq!(set.annotations(), annotations.into());
}

#[test]
fn the_deployment_carries_its_revision_and_says_what_was_made() {
    let plan = plan(&deployment("web").replicas(3), &[]);
    let annotations = written(&plan, "status deployment.apps/web").annotations();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "1");
    assert_eq!(condition(&plan, "Progressing")["reason"], "NewReplicaSetCreated");
    assert_eq!(condition(&plan, "Available")["reason"], "MinimumReplicasUnavailable");
    assert_eq!(
        plan.recheck,
        Some(at(100 + 600 + 1)),
        "when the progress deadline has passed"
    );
}

#[test]
fn the_hash_depends_on_the_template_and_the_collisions_only() {
    let name = |web: Fixture| words(&plan(&web, &[])).swap_remove(0);
    let plain = name(deployment("web"));
    assert_eq!(plain, name(deployment("web").replicas(7).annotation("a", "b")));
    assert_ne!(plain, name(deployment("web").image("v2")));
    assert_ne!(plain, name(deployment("web").status("collisionCount", 1)));
}

#[test]
fn a_name_that_belongs_to_another_counts_as_a_collision() {
    let first = plan(&deployment("web"), &[]);
    let create = words(&first).swap_remove(0);
    let name = create.strip_prefix("create replicaset.apps/").expect("a ReplicaSet");
    let stranger = replica_set(name).image("other").of(&deployment("api"));
    let plan = plan(&deployment("web"), &[stranger]);
    assert_eq!(words(&plan), ["status deployment.apps/web"]);
    assert_eq!(status(&plan)["collisionCount"], 1);
}

#[test]
fn a_rolling_update_takes_the_next_step_that_availability_allows() {
    let cases: [(&str, _, _, &[&str]); 9] = [
        ("growth comes first", (10, 10), (0, 0), &["new 0→3"]),
        (
            "then the old shrink by what may be unavailable",
            (10, 10),
            (3, 0),
            &["old 10→8"],
        ),
        ("room is filled", (8, 8), (3, 0), &["new 3→5"]),
        ("nothing available, nothing moves", (8, 8), (5, 0), &[]),
        ("every available one lets an old one go", (8, 8), (5, 3), &["old 8→5"]),
        ("the unhealthy old ones go first", (8, 2), (5, 5), &["old 8→3"]),
        ("never more unhealthy than the bound", (10, 0), (3, 0), &["old 10→8"]),
        ("all new are there and available", (2, 2), (10, 10), &["old 2→0"]),
        (
            "a new one that grew too large shrinks",
            (0, 0),
            (12, 12),
            &["new 12→10"],
        ),
    ];
    for (case, old, new, expected) in cases {
        assert_eq!(scaled(&rollout().sized(old, new).plan()), expected, "{case}");
    }
}

#[test]
fn a_status_older_than_the_size_promises_no_more_than_the_size() {
    // The old ReplicaSet was just scaled from 10 to 8 and still reports 10 available ones; three new ones are not.
    let mut rollout = rollout().sized((8, 10), (5, 0));
    rollout.old = rollout.old.replicas(8);
    assert_eq!(scaled(&rollout.plan()), Vec::<String>::new());
}

#[test]
fn the_oldest_of_several_old_replica_sets_shrinks_first() {
    let Rollout { deployment, old, new } = rollout().sized((4, 4), (3, 3));
    let older = replica_set("older")
        .image("v0")
        .of(&deployment)
        .fitted_to(10, 13)
        .created(-50)
        .sized(6, 6);
    assert_eq!(scaled(&plan(&deployment, &[old, older, new])), ["older 6→1"]);
}

#[test]
fn recreate_starts_nothing_before_the_last_old_pod_has_ended() {
    let Rollout { deployment, old, new } = rollout();
    let recreate = deployment.spec("strategy", json!({"type": "Recreate"}));
    let of_old = pod("p").of(&old);
    let (busy, empty) = (old.clone().sized(10, 10), old.sized(0, 0));
    let new = new.replicas(0);
    let cases: [(&str, &Fixture, Vec<Fixture>, &[&str]); 4] = [
        ("the old one shrinks", &busy, vec![of_old.clone()], &["old 10→0"]),
        ("a pod still ends", &empty, vec![of_old.clone().deleting()], &[]),
        (
            "a pod that has ended is no obstacle",
            &empty,
            vec![of_old.phase("Failed")],
            &["new 0→10"],
        ),
        ("all are gone", &empty, vec![], &["new 0→10"]),
    ];
    for (case, old, pods, expected) in cases {
        let plan = plan_with_pods(&recreate, &[old.clone(), new.clone()], &pods);
        assert_eq!(scaled(&plan), expected, "{case}");
    }
}

#[test]
fn recreate_makes_its_replica_set_in_full_size() {
    let Rollout { deployment, old, .. } = rollout();
    let recreate = deployment.spec("strategy", json!({"type": "Recreate"}));
    let plan = plan(&recreate, &[old.sized(0, 0)]);
    assert!(words(&plan)[1].ends_with("from 0 to 10"), "{:?}", words(&plan));
}

#[test]
fn a_new_size_goes_to_the_only_active_replica_set() {
    let mut rollout = rollout().sized((0, 0), (10, 10));
    rollout.deployment = rollout.deployment.replicas(4);
    assert_eq!(scaled(&rollout.plan()), ["new 10→4"]);
}

#[test]
fn a_new_size_in_the_middle_of_a_rollout_is_shared_in_proportion() {
    let cases: [(i64, &[&str]); 3] = [
        // 23 of 13 before: 8 → 14.2, 5 → 8.8.
        (20, &["new 5→9", "old 8→14"]),
        (5, &["new 5→3", "old 8→5"]),
        (0, &["new 5→0", "old 8→0"]),
    ];
    for (replicas, expected) in cases {
        let mut rollout = rollout().sized((8, 8), (5, 5));
        rollout.deployment = rollout.deployment.replicas(replicas);
        assert_eq!(scaled(&rollout.plan()), expected, "{replicas}");
    }
}

#[test]
fn a_paused_deployment_follows_its_size_and_nothing_else() {
    let paused = |web: Fixture| web.spec("paused", true);
    let Rollout { deployment, old, .. } = rollout();
    let unchanged = plan(&paused(deployment.clone()), &[old.clone().sized(10, 10)]);
    assert_eq!(
        words(&unchanged),
        ["status deployment.apps/web"],
        "version 2 is not begun"
    );
    assert_eq!(condition(&unchanged, "Progressing")["reason"], "DeploymentPaused");
    let resized = plan(&paused(deployment.clone()).replicas(12), &[old.clone().sized(10, 10)]);
    assert_eq!(scaled(&resized), ["old 10→12"]);
    let resumed = deployment.status("conditions", progressing("DeploymentPaused", "Unknown", 0));
    let resumed = plan(&resumed, &[old.sized(10, 10)]);
    assert_eq!(scaled(&resumed).len(), 2, "version 2 is begun");
}

#[test]
fn going_back_to_an_old_template_takes_its_replica_set_up_again_under_a_new_revision() {
    let mut rollout = rollout().sized((0, 0), (10, 10));
    rollout.deployment = rollout.deployment.image("v1");
    let plan = rollout.plan();
    assert_eq!(scaled(&plan), ["old 0→3"]);
    let annotations = written(&plan, "update replicaset.apps/old").annotations();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn history_is_kept_to_its_limit_once_the_rollout_is_over() {
    let web = deployment("web").spec("revisionHistoryLimit", 1);
    let of = |name: &str, revision| {
        replica_set(name)
            .of(&web)
            .image(name)
            .revision(revision)
            .fitted_to(1, 2)
            .replicas(0)
    };
    let new = replica_set("new").of(&web).revision(4).fitted_to(1, 2).sized(1, 1);
    let sets = [of("a", 1), of("b", 2).status("replicas", 1), of("c", 3), new];
    let done = |web: Fixture| {
        let counts = ["replicas", "updatedReplicas", "availableReplicas", "observedGeneration"];
        counts.into_iter().fold(web, |web, field| web.status(field, 1))
    };
    let deletions = |plan: &Plan| {
        words(plan)
            .into_iter()
            .filter(|w| w.starts_with("delete"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        deletions(&plan(&web, &sets)),
        Vec::<String>::new(),
        "not yet told to be complete"
    );
    assert_eq!(
        deletions(&plan(&done(web), &sets)),
        ["delete replicaset.apps/a Background"],
        "b still has a pod"
    );
}

#[test]
fn the_status_adds_up_the_replica_sets() {
    let rollout = rollout().sized((8, 8), (5, 3));
    let plan = rollout.plan();
    let mut status = status(&plan).clone();
    status.as_object_mut().expect("an object").remove("conditions");
    let expected = json!({
        "replicas": 13, "updatedReplicas": 5, "readyReplicas": 11, "availableReplicas": 11, "unavailableReplicas": 2,
        "observedGeneration": 1,
    });
    assert_eq!(status, expected);
    assert_eq!(condition(&plan, "Available")["status"], "True");
}

#[test]
fn the_rollout_is_judged_by_what_has_moved_since() {
    let told = |web: Fixture, [all, updated, available]: [i64; 3]| {
        let counts = [all, updated, available, available];
        let fields = ["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"];
        fields
            .into_iter()
            .zip(counts)
            .fold(web, |web, (field, count)| web.status(field, count))
    };
    // The old ReplicaSet's size and the new one's, both available; what was told; the condition before; what is said then.
    let cases = [
        (
            "over",
            (0, 10),
            [10, 10, 9],
            progressing("ReplicaSetUpdated", "True", 0),
            ("NewReplicaSetAvailable", 0),
        ),
        (
            "more new ones",
            (8, 5),
            [13, 4, 13],
            progressing("ReplicaSetUpdated", "True", 0),
            ("ReplicaSetUpdated", 100),
        ),
        (
            "nothing",
            (8, 5),
            [13, 5, 13],
            progressing("ReplicaSetUpdated", "True", 95),
            ("ReplicaSetUpdated", 95),
        ),
        (
            "nothing for long",
            (8, 5),
            [13, 5, 13],
            progressing("ReplicaSetUpdated", "True", 0),
            ("ProgressDeadlineExceeded", 100),
        ),
        (
            "progress after all",
            (8, 5),
            [13, 4, 13],
            progressing("ProgressDeadlineExceeded", "False", 0),
            ("ReplicaSetUpdated", 100),
        ),
    ];
    for (case, (old, new), counts, before, (reason, updated)) in cases {
        let mut rollout = rollout().sized((old, old), (new, new));
        let web = rollout.deployment.spec("progressDeadlineSeconds", 60);
        rollout.deployment = told(web, counts).status("conditions", before);
        let plan = rollout.plan();
        let said = condition(&plan, "Progressing");
        assert_eq!(said["reason"], reason, "{case}");
        if updated > 0 {
            assert_eq!(said["lastUpdateTime"], time(updated), "{case}");
        }
    }
}

#[test]
fn without_a_deadline_nothing_is_said_about_progress() {
    let mut rollout = rollout().sized((8, 8), (5, 5));
    rollout.deployment = rollout.deployment.spec("progressDeadlineSeconds", i32::MAX);
    assert_eq!(*condition(&rollout.plan(), "Progressing"), Value::Null);
}

#[test]
fn a_replica_sets_failure_is_the_deployments() {
    let mut rollout = rollout().sized((10, 10), (3, 0));
    let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no"}]);
    rollout.new = rollout.new.status("conditions", failure);
    assert_eq!(condition(&rollout.plan(), "ReplicaFailure")["reason"], "FailedCreate");
}

#[test]
fn a_deployment_that_ends_is_only_counted() {
    let mut rollout = rollout().sized((10, 10), (0, 0));
    rollout.deployment = rollout.deployment.deleting();
    assert_eq!(words(&rollout.plan()), ["status deployment.apps/web"]);
}

#[test]
fn replica_sets_are_adopted_before_anything_else_is_planned() {
    let orphan = replica_set("orphan");
    let plan = plan(&deployment("web"), &[orphan]);
    assert_eq!(words(&plan), ["update replicaset.apps/orphan"]);
}

#[test]
fn min_ready_seconds_reach_the_replica_set_that_is_there() {
    let mut rollout = rollout().sized((0, 0), (10, 10));
    rollout.deployment = rollout.deployment.spec("minReadySeconds", 5);
    let plan = rollout.plan();
    assert_eq!(
        written(&plan, "update replicaset.apps/new").number("/spec/minReadySeconds"),
        Some(5)
    );
}
