//! Names of what a template makes: hashed suffixes, the same for the same template.

use serde_json::Value;

use crate::model::Fnv;
use crate::model::names::{ALPHABET, cut};

/// Names are DNS subdomains.
const NAME_LIMIT: usize = 253;

/// The name of a ReplicaSet: its Deployment's and the hash of its template.
pub(super) fn hashed(base: &str, hash: &str) -> String {
    format!("{}-{hash}", cut(base, NAME_LIMIT - 1 - hash.len()))
}

/// The hash of a pod template (label `pod-template-hash`). The same for equal templates whatever the order of their fields, on
/// every machine and under every version; a collision count makes another of it. Not upstream's number: that hashes Go's
/// print-out of its types.
pub(super) fn template_hash(template: &Value, collisions: Option<i64>) -> String {
    let mut hash = Fnv::default();
    take_in(&mut hash, template);
    if let Some(count) = collisions {
        hash.write(&count.to_le_bytes());
    }
    letters(hash.finish())
}

/// A suffix that is always the same for the same text.
pub(super) fn suffix_of(text: &str) -> String {
    letters(Fnv::of(text))
}

/// A number's digits as letters (`rand.SafeEncodeString`).
fn letters(number: u32) -> String {
    let letter = |digit: u8| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]);
    number.to_string().bytes().map(letter).collect()
}

/// Takes in a value: fields in order of their names; those that are null are not there, as for Kubernetes.
fn take_in(hash: &mut Fnv, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !value.is_null()).collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            hash.write(b"{");
            for (name, value) in fields {
                hash.write(name.as_bytes());
                hash.write(b":");
                take_in(hash, value);
            }
            hash.write(b"}");
        }
        Value::Array(items) => {
            hash.write(b"[");
            for item in items {
                take_in(hash, item);
                hash.write(b",");
            }
            hash.write(b"]");
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            hash.write(scalar.to_string().as_bytes());
            hash.write(b";");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_templates_hash_is_forever() {
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}});
        assert_eq!(template_hash(&template, None), "579554bf89");
        assert_ne!(template_hash(&template, None), template_hash(&template, Some(1)));
    }

    #[test]
    fn null_fields_and_their_order_do_not_count() {
        let plain = json!({"spec": {"a": 1, "b": [true]}});
        let noisy = json!({"metadata": null, "spec": {"b": [true], "a": 1, "c": null}});
        assert_eq!(template_hash(&plain, None), template_hash(&noisy, None));
    }

    #[test]
    fn long_names_leave_room_for_the_suffix() {
        assert_eq!(hashed(&"x".repeat(253), "5d4b9").len(), 253);
        assert_eq!(hashed("web", "5d4b9"), "web-5d4b9");
    }
}
