//! Who may do what. The owner may everything; a service account may what roles say that the owner bound it to, as in Kubernetes
//! (`k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac`). Pure: roles and bindings come in as objects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::token::account_name;
use crate::model::{Find, LabelSelector, Object, list_at};

/// The group that may do everything: the owner's certificate names it.
pub const OWNERS: &str = "system:masters";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// The name.
    pub name: String,
    /// The uid, where there is one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// The pod that speaks, by name and uid, if it is one.
    pub pod: Option<(String, String)>,
}

impl Caller {
    /// The owner of the node.
    pub fn owner() -> Self {
        Self {
            name: super::kubeconfig::USER.to_owned(),
            groups: vec![OWNERS.to_owned(), "system:authenticated".to_owned()],
            ..Self::default()
        }
    }

    /// A service account.
    pub fn account(namespace: &str, name: &str, uid: &str) -> Self {
        let groups = [
            "system:serviceaccounts",
            &format!("system:serviceaccounts:{namespace}"),
            "system:authenticated",
        ];
        Self {
            name: account_name(namespace, name),
            uid: uid.to_owned(),
            groups: groups.map(str::to_owned).to_vec(),
            pod: None,
        }
    }

    /// Whether it may do everything.
    pub fn is_owner(&self) -> bool {
        self.groups.iter().any(|group| group == OWNERS)
    }

    /// `userInfo` of reviews.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            value["uid"] = self.uid.as_str().into();
        }
        if let Some((name, uid)) = &self.pod {
            value["extra"] = json!({
                "authentication.kubernetes.io/pod-name": [name],
                "authentication.kubernetes.io/pod-uid": [uid],
            });
        }
        value
    }

    fn is_subject(&self, subject: &Value, namespace: &str) -> bool {
        let text = |field: &str| subject[field].as_str().unwrap_or_default();
        match text("kind") {
            "User" => text("name") == self.name,
            "Group" => self.groups.iter().any(|group| group == text("name")),
            "ServiceAccount" => {
                let of = Some(text("namespace")).filter(|of| !of.is_empty()).unwrap_or(namespace);
                account_name(of, text("name")) == self.name
            }
            _ => false,
        }
    }
}

/// What is to be done (`authorizer.Attributes`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deed {
    /// `get`, `list`, `create` …
    pub verb: String,
    /// The group of the resource.
    pub group: String,
    /// Its plural; empty for a path that is about no resource.
    pub resource: String,
    /// What of it; empty for itself.
    pub subresource: String,
    /// In which namespace; empty for all, or for kinds that have none.
    pub namespace: String,
    /// Which one; empty for none in particular.
    pub name: String,
    /// The path, where it is about no resource.
    pub path: String,
}

impl Deed {
    /// The resource as roles name it: `pods/log`.
    fn named(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            sub => format!("{}/{sub}", self.resource),
        }
    }

    /// Why it is not done, in upstream's words.
    pub fn refusal(&self, caller: &Caller) -> String {
        let (who, verb) = (&caller.name, &self.verb);
        if self.resource.is_empty() {
            return format!("User {who:?} cannot {verb} path {:?}", self.path);
        }
        let place = match self.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!(
            "User {who:?} cannot {verb} resource {:?} in API group {:?} {place}",
            self.named(),
            self.group
        )
    }
}

/// The roles there are.
pub struct Roles<'a> {
    /// Every ClusterRoleBinding.
    pub everywhere: Vec<Arc<Object>>,
    /// Every RoleBinding of the namespace that is asked about.
    pub here: Vec<Arc<Object>>,
    /// A Role or ClusterRole by kind, namespace and name.
    pub find: &'a Find<'a>,
    /// Every ClusterRole, for those that are made of others.
    pub all: &'a dyn Fn() -> Vec<Arc<Object>>,
}

impl Roles<'_> {
    /// The rules that hold for somebody: those that hold everywhere, then those of the namespace.
    pub fn rules_of(&self, caller: &Caller) -> Vec<Value> {
        let mut rules = Vec::new();
        for binding in self.everywhere.iter().chain(&self.here) {
            let namespace = binding.key().namespace.as_str();
            let subjects = list_at(binding.value(), "/subjects");
            if subjects.iter().any(|subject| caller.is_subject(subject, namespace)) {
                let (kind, name) = (binding.text("/roleRef/kind"), binding.text("/roleRef/name"));
                let role = (self.find)(kind, namespace, name);
                rules.extend(role.iter().flat_map(|role| self.rules_in(role)));
            }
        }
        rules
    }

    /// The rules of a role; one that is made of others has theirs (`aggregationRule`).
    fn rules_in(&self, role: &Object) -> Vec<Value> {
        let mut rules = list_at(role.value(), "/rules").to_vec();
        let selectors = list_at(role.value(), "/aggregationRule/clusterRoleSelectors");
        let selectors: Vec<_> = selectors
            .iter()
            .filter_map(|one| LabelSelector::from_json(one).ok())
            .collect();
        if !selectors.is_empty() {
            for other in (self.all)().iter().filter(|other| other.key() != role.key()) {
                if selectors.iter().any(|selector| selector.matches(&other.labels())) {
                    rules.extend_from_slice(list_at(other.value(), "/rules"));
                }
            }
        }
        rules
    }

    /// Whether somebody may do something.
    pub fn is_allowed(&self, caller: &Caller, deed: &Deed) -> bool {
        caller.is_owner() || is_common(deed) || self.rules_of(caller).iter().any(|rule| is_covered(rule, deed))
    }
}

/// What everybody may who is known at all (`system:discovery`, `system:basic-user`, `system:public-info-viewer`,
/// `system:service-account-issuer-discovery`).
fn is_common(deed: &Deed) -> bool {
    const OPEN: [&str; 10] = [
        "api",
        "apis",
        "openapi",
        "openid",
        ".well-known",
        "version",
        "healthz",
        "livez",
        "readyz",
        "",
    ];
    const SELF: [&str; 3] = [
        "selfsubjectreviews",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
    ];
    let first = deed.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match deed.resource.as_str() {
        "" => deed.verb == "get" && OPEN.contains(&first),
        resource => deed.verb == "create" && SELF.contains(&resource),
    }
}

/// Whether a rule speaks of a deed (`rbac.RuleAllows`).
fn is_covered(rule: &Value, deed: &Deed) -> bool {
    let says = |field: &str, word: &str| {
        let words = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        words.into_iter().any(|said| said == "*" || said == word)
    };
    if !says("verbs", &deed.verb) {
        return false;
    }
    if deed.resource.is_empty() {
        let paths = rule["nonResourceURLs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        return paths.into_iter().any(|path| match path.strip_suffix('*') {
            Some(start) => deed.path.starts_with(start),
            None => deed.path == path,
        });
    }
    let any_of_all = !deed.subresource.is_empty() && says("resources", &format!("*/{}", deed.subresource));
    let is_named = rule["resourceNames"].as_array().is_none_or(|names| {
        names.is_empty()
            || names
                .iter()
                .any(|name| !deed.name.is_empty() && *name == deed.name.as_str())
    });
    says("apiGroups", &deed.group) && (says("resources", &deed.named()) || any_of_all) && is_named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, metadata: Value, rest: &Value) -> Arc<Object> {
        let mut value = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata});
        for (field, part) in rest.as_object().expect("a map") {
            value[field] = part.clone();
        }
        Arc::new(Object::new(value).expect("has a kind and a name"))
    }

    fn deed(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Deed {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Deed {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: String::new(),
        }
    }

    fn may(rules: Value, deed: &Deed) -> bool {
        let role = object(
            "Role",
            json!({"name": "r", "namespace": "team"}),
            &json!({"rules": rules}),
        );
        let binding = object(
            "RoleBinding",
            json!({"name": "b", "namespace": "team"}),
            &json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "bot"}]}),
        );
        let find = |kind: &str, _: &str, _: &str| (kind == "Role").then(|| role.clone());
        let here = if deed.namespace == "team" {
            vec![binding]
        } else {
            Vec::new()
        };
        let roles = Roles {
            everywhere: Vec::new(),
            here,
            find: &find,
            all: &Vec::new,
        };
        roles.is_allowed(&Caller::account("team", "bot", ""), deed)
    }

    #[test]
    fn an_account_may_what_its_roles_say_and_nothing_else() {
        let read = json!([{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}]);
        for (asked, expected) in [
            (deed("get", "", "pods", "team", "web"), true),
            (deed("get", "", "pods/log", "team", "web"), true),
            (deed("get", "", "pods/exec", "team", "web"), false),
            (deed("create", "", "pods", "team", ""), false),
            (deed("get", "", "pods", "other", "web"), false),
            (deed("list", "", "pods", "", ""), false),
            (deed("get", "apps", "deployments", "team", "web"), false),
            (
                deed("create", "authorization.k8s.io", "selfsubjectaccessreviews", "", ""),
                true,
            ),
        ] {
            assert_eq!(may(read.clone(), &asked), expected, "{asked:?}");
        }
        let one = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"], "resourceNames": ["mine"]}]);
        assert!(may(
            one.clone(),
            &deed("delete", "apps", "deployments/scale", "team", "mine")
        ));
        assert!(!may(
            one.clone(),
            &deed("delete", "apps", "deployments", "team", "yours")
        ));
        assert!(!may(one, &deed("list", "apps", "deployments", "team", "")));
        let logs = json!([{"apiGroups": [""], "resources": ["*/log"], "verbs": ["get"]}]);
        assert!(may(logs.clone(), &deed("get", "", "pods/log", "team", "web")));
        assert!(!may(logs, &deed("get", "", "pods", "team", "web")));
    }

    #[test]
    fn paths_are_open_that_tell_what_there_is() {
        let path = |verb: &str, path: &str| Deed {
            verb: verb.to_owned(),
            path: path.to_owned(),
            ..Deed::default()
        };
        for (asked, expected) in [
            (path("get", "/version"), true),
            (path("get", "/apis/apps/v1"), true),
            (path("get", "/openapi/v3/api/v1"), true),
            (path("get", "/kubelocal/v1/status"), false),
            (path("post", "/version"), false),
        ] {
            assert_eq!(may(json!([]), &asked), expected, "{asked:?}");
        }
        let metrics = json!([{"nonResourceURLs": ["/metrics/*"], "verbs": ["get"]}]);
        let find = |_: &str, _: &str, _: &str| {
            Some(object(
                "ClusterRole",
                json!({"name": "r"}),
                &json!({"rules": metrics.clone()}),
            ))
        };
        let bound = object(
            "ClusterRoleBinding",
            json!({"name": "b"}),
            &json!({"roleRef": {"kind": "ClusterRole", "name": "r"},
                "subjects": [{"kind": "Group", "name": "system:serviceaccounts:team"}]}),
        );
        let roles = Roles {
            everywhere: vec![bound],
            here: Vec::new(),
            find: &find,
            all: &Vec::new,
        };
        let (ours, others) = (Caller::account("team", "bot", ""), Caller::account("other", "bot", ""));
        assert!(roles.is_allowed(&ours, &path("get", "/metrics/cadvisor")));
        assert!(!roles.is_allowed(&others, &path("get", "/metrics/cadvisor")));
    }

    #[test]
    fn a_role_may_be_made_of_others() {
        let part = object(
            "ClusterRole",
            json!({"name": "part", "labels": {"to": "whole"}}),
            &json!({"rules": [{"apiGroups": ["x.io"], "resources": ["things"], "verbs": ["get"]}]}),
        );
        let whole = object(
            "ClusterRole",
            json!({"name": "whole"}),
            &json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "whole"}}]}}),
        );
        let bound = object(
            "ClusterRoleBinding",
            json!({"name": "b"}),
            &json!({"roleRef": {"kind": "ClusterRole", "name": "whole"},
                "subjects": [{"kind": "User", "name": "system:serviceaccount:team:bot"}]}),
        );
        let find = |_: &str, _: &str, _: &str| Some(whole.clone());
        let all = || vec![part.clone(), whole.clone()];
        let roles = Roles {
            everywhere: vec![bound],
            here: Vec::new(),
            find: &find,
            all: &all,
        };
        let caller = Caller::account("team", "bot", "");
        assert!(roles.is_allowed(&caller, &deed("get", "x.io", "things", "", "a")));
        assert!(!roles.is_allowed(&caller, &deed("get", "y.io", "things", "", "a")));
    }

    #[test]
    fn the_owner_may_do_everything() {
        let none = |_: &str, _: &str, _: &str| None;
        let roles = Roles {
            everywhere: Vec::new(),
            here: Vec::new(),
            find: &none,
            all: &Vec::new,
        };
        let deed = deed("delete", "", "namespaces", "", "default");
        assert!(roles.is_allowed(&Caller::owner(), &deed));
        assert!(!roles.is_allowed(&Caller::default(), &deed));
        let told = deed.refusal(&Caller::account("team", "bot", ""));
        assert_eq!(
            told,
            "User \"system:serviceaccount:team:bot\" cannot delete resource \"namespaces\" in API group \"\" at the cluster scope"
        );
    }
}
