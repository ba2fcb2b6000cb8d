use super::*;
use crate::controller::fixtures::{Fixture, config, deployment, pod, replica_set, words, written};

fn plan(object: &Fixture, owners: &[Owner], dependents: &[Fixture]) -> Plan {
    let dependents: Vec<_> = dependents.iter().map(Fixture::shared).collect();
    plan_garbage(&object.object(), owners, &dependents)
}

fn gone(owner: &str) -> Owner {
    Owner::Gone {
        uid: format!("uid-of-{owner}"),
    }
}

fn waiting(owner: &str) -> Owner {
    Owner::Waiting {
        uid: format!("uid-of-{owner}"),
    }
}

#[test]
fn an_object_goes_with_its_last_owner() {
    let (a, b) = (config("a"), config("b"));
    let one = config("c").of(&a);
    let two = config("c").of(&a).loosely_of(&b);
    let cases = [
        ("no owner is named", config("c"), vec![], ""),
        ("its owner is there", one.clone(), vec![Owner::Solid], ""),
        (
            "its owner is gone",
            one.clone(),
            vec![gone("a")],
            "delete configmap/c Background",
        ),
        (
            "one of two is gone",
            two.clone(),
            vec![gone("a"), Owner::Solid],
            "update configmap/c",
        ),
        (
            "both are gone",
            two,
            vec![gone("a"), gone("b")],
            "delete configmap/c Background",
        ),
        (
            "it is being deleted already",
            one.clone().deleting(),
            vec![gone("a")],
            "",
        ),
        (
            "its owner waits for it",
            one.clone(),
            vec![waiting("a")],
            "delete configmap/c Background",
        ),
        (
            "it was to leave its own dependents",
            one.finalizer(ORPHAN),
            vec![gone("a")],
            "delete configmap/c Orphan",
        ),
    ];
    for (case, object, owners, expected) in cases {
        assert_eq!(words(&plan(&object, &owners, &[])).join(", "), expected, "{case}");
    }
}

#[test]
fn an_object_forgets_only_the_owners_it_lost() {
    let object = config("c").of(&config("a")).loosely_of(&config("b"));
    let plan = plan(&object, &[gone("a"), Owner::Solid], &[]);
    let names: Vec<_> = written(&plan, "update configmap/c")
        .owners()
        .into_iter()
        .map(|o| o.name)
        .collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn a_foreground_deletion_reaches_the_dependents_of_dependents() {
    let set = replica_set("set").of(&deployment("web"));
    let plan = plan(&set, &[waiting("web")], &[pod("p").of(&set)]);
    assert_eq!(words(&plan), ["delete replicaset.apps/set Foreground"]);
}

#[test]
fn a_foreground_deletion_waits_for_those_that_block_it() {
    let owner = deployment("web").deleting().finalizer(FOREGROUND);
    let cases = [
        ("a blocking dependent", vec![replica_set("set").of(&owner)], ""),
        ("one that ends", vec![replica_set("set").of(&owner).deleting()], ""),
        (
            "one that does not block",
            vec![config("c").loosely_of(&owner)],
            "update deployment.apps/web",
        ),
        ("none", vec![], "update deployment.apps/web"),
    ];
    for (case, dependents, expected) in cases {
        assert_eq!(words(&plan(&owner, &[], &dependents)).join(", "), expected, "{case}");
    }
}

#[test]
fn an_orphaning_deletion_frees_the_dependents_first() {
    let owner = replica_set("set").deleting().finalizer(ORPHAN);
    let plan = plan(&owner, &[], &[pod("p").of(&owner)]);
    assert_eq!(words(&plan), ["update pod/p", "update replicaset.apps/set"]);
    assert_eq!(written(&plan, "update pod/p").owners(), []);
    assert_eq!(
        written(&plan, "update replicaset.apps/set").at("/metadata/finalizers"),
        None
    );
}

#[test]
fn objects_that_own_each_other_stop_waiting_for_each_other() {
    let (a, b) = (config("a"), config("b"));
    let a = a.of(&b).deleting().finalizer(FOREGROUND);
    let b = b.of(&a).deleting().finalizer(FOREGROUND);
    let plan = plan(&a, &[waiting("b")], &[b]);
    let owners = written(&plan, "update configmap/a").owners();
    assert!(owners.iter().all(|owner| !owner.block_owner_deletion), "{owners:?}");
}

#[test]
fn owners_are_found_by_uid_where_they_can_be_looked_up() {
    let clock = Arc::new(crate::model::ManualClock::at(Timestamp::UNIX_EPOCH));
    let store = Store::in_memory(clock);
    let owner = store.create(config("owner").object()).expect("free name");
    let named = |fields: Value| {
        let mut reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid()});
        reference
            .as_object_mut()
            .expect("an object")
            .extend(fields.as_object().expect("an object").clone());
        reference
    };
    let other = Owner::Gone {
        uid: "other".to_owned(),
    };
    let cases = [
        ("the owner", named(json!({})), Owner::Solid),
        ("another of its name", named(json!({"uid": "other"})), other),
        (
            "a kind unknown here",
            named(json!({"apiVersion": "example.com/v1", "uid": "x"})),
            Owner::Solid,
        ),
    ];
    for (case, reference, expected) in cases {
        assert_eq!(
            observe_owner(&store, &config("c").object(), &reference),
            expected,
            "{case}"
        );
    }
}
