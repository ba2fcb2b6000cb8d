//! The whole loop on a store in memory, beside a task that does to pods what a node would. Time is paused: it moves when everyone
//! waits.

mod cluster;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::pods::ready_since;
use crate::model::Object;
use crate::store::Propagation;

use cluster::{Cluster, reason};

fn web(replicas: i64, strategy: Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "strategy": strategy,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "v1"}], "terminationGracePeriodSeconds": 30},
            },
        },
    })
}

fn rolling(max_surge: impl Into<Value>, max_unavailable: impl Into<Value>) -> Value {
    let (surge, unavailable) = (max_surge.into(), max_unavailable.into());
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn set_image(image: &'static str) -> impl FnOnce(&mut Value) {
    move |web| web["spec"]["template"]["spec"]["containers"][0]["image"] = image.into()
}

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_pods_and_says_so() {
    let cluster = Cluster::start();
    let key = cluster.create(web(3, rolling(1, 0))).key().clone();
    cluster.wait_for_rollout(&key).await;
    assert_eq!((cluster.sets().len(), cluster.pods().len()), (1, 3));
    let web = cluster.store.get(&key).expect("it is there");
    assert_eq!(reason(&web, "Available"), "MinimumReplicasAvailable");
    assert_eq!(web.annotations()["deployment.kubernetes.io/revision"], "1");
    let name = cluster.sets()[0].key().name.clone();
    let scaled = format!("Scaled up replica set {name} from 0 to 3");
    assert_eq!(cluster.told("Deployment"), [("ScalingReplicaSet".to_owned(), scaled)]);
    assert_eq!(cluster.told("ReplicaSet").len(), 3);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rolling_update_stays_between_its_bounds() {
    for (replicas, surge, unavailable) in [
        (10, json!("25%"), json!("25%")),
        (4, json!(1), json!(0)),
        (3, json!(0), json!(1)),
    ] {
        let cluster = Cluster::start();
        let key = cluster
            .create(web(replicas, rolling(surge.clone(), unavailable.clone())))
            .key()
            .clone();
        cluster.wait_for_rollout(&key).await;
        cluster.watch_pods();
        cluster.edit(&key, set_image("v2"));
        cluster.wait_for_rollout(&key).await;
        let living = cluster.pods().into_iter().filter(|p| !p.is_deleting());
        let images: Vec<_> = living.map(|p| p.text("/spec/containers/0/image").to_owned()).collect();
        assert!(images.iter().all(|image| image == "v2"), "{images:?}");
        let (fewest, most) = match replicas {
            10 => (8, 13),
            4 => (4, 5),
            _ => (2, 3),
        };
        let seen = cluster.seen();
        assert_eq!(
            (seen.fewest_ready, seen.most_living),
            (fewest, most),
            "{replicas}, {surge}, {unavailable}"
        );
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn recreate_never_lets_two_versions_live_at_once() {
    let cluster = Cluster::start();
    let key = cluster.create(web(3, json!({"type": "Recreate"}))).key().clone();
    cluster.wait_for_rollout(&key).await;
    cluster.watch_pods();
    cluster.edit(&key, set_image("v2"));
    cluster.wait_for_rollout(&key).await;
    assert_eq!((cluster.seen().fewest_ready, cluster.seen().mixed), (0, false));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_scales_up_and_down() {
    let cluster = Cluster::start();
    let key = cluster.create(web(2, rolling(1, 0))).key().clone();
    for replicas in [5, 1, 0, 2] {
        cluster.edit(&key, |web| web["spec"]["replicas"] = replicas.into());
        cluster.wait_for_rollout(&key).await;
        let all_there = |c: &Cluster| c.pods().len() == usize::try_from(replicas).expect("small");
        cluster.wait_for("as many pods as wanted", all_there).await;
    }
    assert_eq!(cluster.sets().len(), 1);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_deleted_or_fails_is_replaced() {
    let cluster = Cluster::start();
    let key = cluster.create(web(2, rolling(1, 0))).key().clone();
    cluster.wait_for_rollout(&key).await;
    let [first, second] = cluster.pods().try_into().expect("two pods");
    cluster.delete(first.key(), Propagation::Background);
    let fail = |pod: &mut Object| pod.value_mut()["status"]["phase"] = "Failed".into();
    cluster.store.update_status(second.key(), fail).expect("it is there");
    let are_replaced = |c: &Cluster| {
        let ready =
            |p: &&Arc<Object>| ready_since(p).is_some() && p.text("/status/phase") == "Running" && !p.is_deleting();
        c.store.get(first.key()).is_none() && c.pods().iter().filter(ready).count() == 2
    };
    cluster.wait_for("two others", are_replaced).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn min_ready_seconds_hold_a_rollout_back() {
    let cluster = Cluster::start();
    let mut patient = web(1, rolling(1, 0));
    patient["spec"]["minReadySeconds"] = 60.into();
    let began = Instant::now();
    let key = cluster.create(patient).key().clone();
    cluster.wait_for_rollout(&key).await;
    let took = began.elapsed().as_secs();
    assert!(
        (61..=63).contains(&took),
        "two seconds to start and sixty of patience, not {took}"
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_move_is_told_after_its_deadline() {
    let cluster = Cluster::start();
    let mut stuck = web(1, rolling(1, 0));
    stuck["spec"]["progressDeadlineSeconds"] = 30.into();
    stuck["spec"]["minReadySeconds"] = 25_000.into();
    let key = cluster.create(stuck).key().clone();
    let is_told =
        |c: &Cluster| reason(&c.store.get(&key).expect("it is there"), "Progressing") == "ProgressDeadlineExceeded";
    cluster.wait_for("the deadline has passed", is_told).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn history_is_kept_to_its_limit_and_can_be_gone_back_to() {
    let cluster = Cluster::start();
    let mut short = web(1, rolling(1, 0));
    short["spec"]["revisionHistoryLimit"] = 2.into();
    let key = cluster.create(short).key().clone();
    for image in ["v1", "v2", "v3", "v4", "v5"] {
        cluster.edit(&key, set_image(image));
        cluster.wait_for_rollout(&key).await;
    }
    cluster
        .wait_for("the new one and two old ones", |c| c.sets().len() == 3)
        .await;
    cluster.edit(&key, set_image("v3"));
    cluster.wait_for_rollout(&key).await;
    assert_eq!(cluster.sets().len(), 3);
    let web = cluster.store.get(&key).expect("it is there");
    assert_eq!(web.annotations()["deployment.kubernetes.io/revision"], "6");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn dependents_go_after_before_or_without_their_owner_as_the_deletion_asks() {
    let config = |uid: &str| {
        let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid}]);
        let metadata = json!({"name": "c", "namespace": "default", "ownerReferences": owner});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    };
    for propagation in [Propagation::Background, Propagation::Foreground, Propagation::Orphan] {
        let cluster = Cluster::start();
        let web = cluster.create(web(2, rolling(1, 0)));
        cluster.create(config(web.uid()));
        cluster.wait_for_rollout(web.key()).await;
        cluster.delete(web.key(), propagation);
        let is_gone = |c: &Cluster| c.store.get(web.key()).is_none();
        cluster.wait_for("the owner is gone", is_gone).await;
        let left = |c: &Cluster| c.pods().len() + c.sets().len() + c.list("v1", "ConfigMap").len();
        match propagation {
            Propagation::Background => cluster.wait_for("all are gone", |c| left(c) == 0).await,
            Propagation::Foreground => assert_eq!(cluster.pods().len() + cluster.sets().len(), 0),
            Propagation::Orphan => {
                assert_eq!(left(&cluster), 4);
                assert!(cluster.sets().iter().all(|set| set.owners().is_empty()));
            }
        }
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_replica_set_is_taken_up_by_the_next_deployment() {
    let cluster = Cluster::start();
    let first = cluster.create(web(2, rolling(1, 0)));
    cluster.wait_for_rollout(first.key()).await;
    let pods: Vec<_> = cluster.pods().iter().map(|p| p.uid().to_owned()).collect();
    cluster.delete(first.key(), Propagation::Orphan);
    cluster
        .wait_for("it is gone", |c| c.store.get(first.key()).is_none())
        .await;
    let second = cluster.create(web(2, rolling(1, 0)));
    cluster.wait_for_rollout(second.key()).await;
    assert_eq!(
        cluster.pods().iter().map(|p| p.uid().to_owned()).collect::<Vec<_>>(),
        pods
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_takes_its_content_along() {
    let cluster = Cluster::start();
    let shop = cluster.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    let is_ready = |c: &Cluster| {
        c.store
            .get(shop.key())
            .is_some_and(|n| n.text("/status/phase") == "Active")
    };
    cluster.wait_for("the namespace is active", is_ready).await;
    let mut web = web(2, rolling(1, 0));
    web["metadata"]["namespace"] = "shop".into();
    let web = cluster.create(web);
    cluster.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}}));
    cluster.wait_for_rollout(web.key()).await;
    cluster.delete(shop.key(), Propagation::Background);
    cluster
        .wait_for("it is gone", |c| c.store.get(shop.key()).is_none())
        .await;
    let kinds = crate::model::KINDS.iter().filter(|kind| kind.namespaced);
    let left: Vec<_> = kinds
        .flat_map(|kind| cluster.store.list(kind, Some("shop")).items)
        .collect();
    assert_eq!(left, []);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_namespace_has_a_default_account_for_as_long_as_it_lives() {
    let cluster = Cluster::start();
    let shop = cluster.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    let kind = crate::model::kind("v1", "ServiceAccount").expect("known");
    let account = crate::model::Key::new(kind, "shop", "default");
    let uid = |c: &Cluster| c.store.get(&account).map(|account| account.uid().to_owned());
    cluster.wait_for("it is made", |c| uid(c).is_some()).await;
    let first = uid(&cluster);
    cluster.delete(&account, Propagation::Background);
    cluster
        .wait_for("it comes back", |c| uid(c).is_some() && uid(c) != first)
        .await;
    cluster.delete(shop.key(), Propagation::Background);
    cluster
        .wait_for("both are gone", |c| {
            c.store.get(shop.key()).is_none() && uid(c).is_none()
        })
        .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_systems_namespaces_are_there_and_come_back() {
    let cluster = Cluster::start();
    let names = |c: &Cluster| {
        c.list("v1", "Namespace")
            .iter()
            .map(|n| n.key().name.clone())
            .collect::<Vec<_>>()
    };
    let all = ["default", "kube-node-lease", "kube-public", "kube-system"];
    cluster.wait_for("all four", |c| names(c) == all).await;
    let namespaces = cluster.list("v1", "Namespace");
    let lease = namespaces
        .iter()
        .find(|n| n.key().name == "kube-node-lease")
        .expect("it is there");
    cluster.delete(lease.key(), Propagation::Background);
    let is_back = |c: &Cluster| c.store.get(lease.key()).is_some_and(|n| n.uid() != lease.uid());
    cluster.wait_for("a new one", is_back).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_were_lost_are_made_up_for() {
    let cluster = Cluster::start();
    let key = cluster.create(web(1, rolling(1, 0))).key().clone();
    cluster.wait_for_rollout(&key).await;
    // More changes than the store remembers, in one turn of the scheduler.
    cluster.edit(&key, |web| web["spec"]["replicas"] = 3.into());
    for n in 0..3000 {
        cluster.create(
            json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("e{n}"), "namespace": "x"}}),
        );
    }
    cluster.wait_for("three pods", |c| c.pods().len() == 3).await;
    cluster.stop().await;
}
