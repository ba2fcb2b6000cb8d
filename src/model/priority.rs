//! How important pods are.

use std::sync::Arc;

use serde_json::Value;

use super::object::Object;

/// The priority of a class: its own, or where none is named that of the class that is everyone's (admission plugin `Priority`). A class that
/// is not there counts as none.
pub fn class_priority(named: &str, classes: &[Arc<Object>]) -> i64 {
    let value = |class: &Arc<Object>| class.number("/value").unwrap_or(0);
    match named {
        "system-node-critical" => 2_000_001_000,
        "system-cluster-critical" => 2_000_000_000,
        "" => {
            let is_for_all = |class: &&Arc<Object>| class.at("/globalDefault") == Some(&Value::Bool(true));
            classes.iter().filter(is_for_all).map(value).max().unwrap_or(0)
        }
        named => classes.iter().find(|class| class.key().name == named).map_or(0, value),
    }
}
