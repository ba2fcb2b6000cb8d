//! NetworkPolicies (`pkg/apis/networking/v1/defaults.go`).

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::text;

pub(super) fn default_policy(policy: &mut NetworkPolicy) {
    let spec = policy.spec.get_or_insert_with(Default::default);
    let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let types = spec.policy_types.get_or_insert_default();
    if types.is_empty() {
        types.push("Ingress".to_owned());
        if has_egress {
            types.push("Egress".to_owned());
        }
    }
    let of_ingress = spec.ingress.iter_mut().flatten().map(|rule| &mut rule.ports);
    let of_egress = spec.egress.iter_mut().flatten().map(|rule| &mut rule.ports);
    for port in of_ingress.chain(of_egress).flatten().flatten() {
        text(&mut port.protocol, "TCP");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_policy_is_about_what_comes_and_if_it_says_so_about_what_leaves() {
        for (spec, types) in [
            (json!({}), json!(["Ingress"])),
            (json!({"egress": []}), json!(["Ingress"])),
            (json!({"egress": [{}]}), json!(["Ingress", "Egress"])),
            (json!({"policyTypes": ["Egress"]}), json!(["Egress"])),
        ] {
            let mut policy: NetworkPolicy = serde_json::from_value(json!({"spec": spec})).expect("is of the type");
            default_policy(&mut policy);
            let value: Value = serde_json::to_value(&policy).expect("is JSON");
            assert_eq!(value["spec"]["policyTypes"], types);
        }
    }
}
