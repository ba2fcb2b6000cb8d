//! The programs that a runtime runs for a container. Pure.

use oci_spec::runtime::{Hook as OciHook, HookBuilder, Hooks};

use crate::runtime::Hook;

/// Sorts hooks by the points at which they run; `None` if there are none.
pub(super) fn plan_hooks(asked: &[Hook]) -> oci_spec::Result<Option<Hooks>> {
    if asked.is_empty() {
        return Ok(None);
    }
    let mut hooks = Hooks::default();
    hooks.set_prestart(at(asked, "prestart")?);
    hooks
        .set_create_runtime(at(asked, "createRuntime")?)
        .set_create_container(at(asked, "createContainer")?)
        .set_start_container(at(asked, "startContainer")?)
        .set_poststart(at(asked, "poststart")?);
    Ok(Some(hooks))
}

fn at(asked: &[Hook], point: &str) -> oci_spec::Result<Option<Vec<OciHook>>> {
    let hooks = asked.iter().filter(|hook| hook.name == point).map(|hook| {
        let mut made = HookBuilder::default().path(&hook.path).args(hook.args.clone());
        if !hook.env.is_empty() {
            made = made.env(hook.env.clone());
        }
        if let Some(timeout) = hook.timeout {
            made = made.timeout(i64::from(timeout));
        }
        made.build()
    });
    let hooks = hooks.collect::<oci_spec::Result<Vec<_>>>()?;
    Ok((!hooks.is_empty()).then_some(hooks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_run_where_they_say_and_none_are_none() {
        assert_eq!(plan_hooks(&[]).expect("nothing to build"), None);
        let hook = |name: &str, timeout| Hook {
            name: name.to_owned(),
            path: "/h".into(),
            args: vec!["h".to_owned()],
            env: Vec::new(),
            timeout,
        };
        let hooks = plan_hooks(&[hook("createContainer", Some(3)), hook("poststart", None)]);
        let hooks = serde_json::to_value(hooks.expect("has all it needs")).expect("is JSON");
        let expected = serde_json::json!({
            "createContainer": [{"path": "/h", "args": ["h"], "timeout": 3}],
            "poststart": [{"path": "/h", "args": ["h"]}],
        });
        assert_eq!(hooks, expected);
    }
}
