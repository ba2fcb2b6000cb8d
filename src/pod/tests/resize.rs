//! Plans for runs that have other resources than their containers ask for, and what the status says of them.

use serde_json::{Value, json};

use super::*;

/// `a` asks for this much memory and says this of changes; its run was given 1Gi.
fn asking(memory: &str, policy: &'static str) -> World {
    let limit = |memory: &str| json!({"resources": {"limits": {"memory": memory}}});
    let memory = memory.to_owned();
    World::running().with(move |w| {
        w.container(
            0,
            json!({"resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}]}),
        );
        w.container(0, limit("1Gi"));
        w.run("a", 0, running());
        w.container(0, limit(&memory));
    })
}

/// Its run succeeded, by itself or when it was ended for what its container asks for, in a pod that runs again what fails.
fn ended_when_asking_for_more(was_drained: bool) -> World {
    asking("2Gi", "RestartContainer").with(|w| {
        w.policy("OnFailure");
        let given = w.sandbox.as_ref().expect("there is one").containers[1]
            .annotations
            .clone();
        let ContainerState::Exited(exit) = exited(0) else {
            unreachable!("it has exited")
        };
        w.run("a", 0, ContainerState::Exited(Exit { was_drained, ..exit }));
        let runs = &mut w.sandbox.as_mut().expect("there is one").containers;
        runs.last_mut().expect("it was put there").annotations = given;
    })
}

fn resize() -> Plan {
    Plan::Converge(Converge {
        resize: vec![id("a", 0)],
        ..Converge::default()
    })
}

fn failed(seconds_ago: i64) -> World {
    asking("2Gi", "NotRequired").with(|w| {
        let failure = Failure {
            reason: "ResizeError",
            message: "too low".to_owned(),
            at: at(100 - seconds_ago),
            tries: 1,
        };
        w.failures.insert(RESIZE_FAILURE.to_owned(), failure);
    })
}

#[test]
fn other_resources_are_given_in_place_or_by_a_restart_as_the_container_says() {
    let restart = end("a", "Container a resize requires restart", at(130));
    check(vec![
        ("the same", asking("1Gi", "NotRequired"), settled()),
        ("more", asking("2Gi", "NotRequired"), resize()),
        (
            "more, by a restart",
            asking("2Gi", "RestartContainer"),
            Plan::Converge(Converge {
                end: vec![restart],
                ..Converge::default()
            }),
        ),
        (
            "the same, which would be a restart",
            asking("1Gi", "RestartContainer"),
            settled(),
        ),
        (
            "it has just failed",
            failed(1),
            Plan::Settled {
                recheck: Some(super::super::back_off::next_try(at(99), 1)),
            },
        ),
        (
            "however it ended for it",
            ended_when_asking_for_more(true),
            start("a", 1, 0),
        ),
        ("it had ended by itself", ended_when_asking_for_more(false), settled()),
        ("it failed a while ago", failed(90), resize()),
    ]);
}

#[test]
fn what_is_given_what_waits_and_what_fails_is_in_the_status() {
    let told = |world: &World, kind: &str| -> Value {
        let status = world.status();
        let mut conditions = status["conditions"].as_array().expect("a list").iter();
        let found = conditions.find(|c| c["type"] == kind).cloned().unwrap_or_default();
        json!([found["status"], found["reason"], found["message"]])
    };
    let world = asking("2Gi", "NotRequired");
    let status = world.status();
    assert_eq!(
        status["containerStatuses"][0]["resources"],
        json!({"limits": {"memory": "1Gi"}}),
        "a run has what it was given"
    );
    assert_eq!(told(&world, "PodResizeInProgress"), json!(["True", null, null]));
    assert_eq!(
        told(&failed(1), "PodResizeInProgress"),
        json!(["True", "Error", "too low"])
    );
    let mut settled = asking("1Gi", "NotRequired");
    settled.says(json!({"conditions": [{"type": "PodResizeInProgress", "status": "True"}]}));
    assert_eq!(told(&settled, "PodResizeInProgress"), json!([null, null, null]));
}
