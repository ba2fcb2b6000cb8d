//! `$(VAR)`: variables whose values are fields of objects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::fieldspec::{FieldSpec, visit};
use crate::kustomize::graph::{Graph, Id, smart_split};
use crate::kustomize::kustomization::Var;
use crate::kustomize::resmap::ResMap;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{self, Kind, Style, Tag};

/// A variable's value.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// A mapping or a list, which stands for no text: what the reference says of it on its standard error.
    Structure(String),
}

/// Variables, and what came of them.
#[derive(Debug, Default)]
struct Replacer {
    known: BTreeMap<String, Known>,
    used: BTreeSet<String>,
    warnings: Vec<String>,
}

/// Replaces variables in the fields that may hold them.
///
/// # Errors
/// If a variable's object or field is not there, or a field that may hold variables has another shape.
pub fn resolve_vars(
    world: &mut World<'_>,
    map: &mut ResMap,
    vars: &BTreeMap<String, Var>,
    specs: &[FieldSpec],
) -> Result<()> {
    let mut replacer = Replacer::default();
    for var in vars.values() {
        let value = value_of(&mut world.graph, map, var)?;
        replacer.known.insert(var.name.clone(), value);
    }
    if replacer.known.is_empty() {
        return Ok(());
    }
    for root in map.roots() {
        for spec in specs {
            visit(&mut world.graph, root, spec, None, |graph, at| {
                replacer.replace_in(graph, at)
            })?;
        }
    }
    map.list_mut();
    let unused = replacer.unused();
    world.warnings.append(&mut replacer.warnings);
    if !unused.is_empty() {
        world
            .warnings
            .push(format!("well-defined vars that were never replaced: {unused}"));
    }
    Ok(())
}

fn value_of(graph: &mut Graph, map: &ResMap, var: &Var) -> Result<Known> {
    let holder = map.list().iter().find(|resource| resource.ref_vars.contains(&var.name));
    let Some(root) = holder.and_then(|resource| resource.root) else {
        let why = format!(
            "var '{}' cannot be mapped to a field in the set of known resources",
            shown(var)
        );
        return Err(Error::resources(why).at(var.pos));
    };
    let missing = || {
        let why = format!(
            "field specified in var '{}' not found in corresponding resource",
            shown(var)
        );
        Error::resources(why).at(var.pos)
    };
    let path = split_indices(smart_split(&var.field_path, '.'));
    let node = graph.lookup(root, &path).map_err(|_| missing())?.ok_or_else(missing)?;
    let text = graph.text(node);
    if !graph.is_scalar(node) {
        let form = match graph.kind(node) {
            Kind::Sequence => "[]interface {}",
            _ => "map[string]interface {}",
        };
        let value = in_go(&graph.to_json(node).map_err(|_| missing())?);
        return Ok(Known::Structure(format!("type={form} val={value}")));
    }
    Ok(match graph.cell(node).tag {
        Tag::Int => Known::Int(text.parse().map_err(|_| missing())?),
        Tag::Float => Known::Float(text.parse().map_err(|_| missing())?),
        Tag::Bool => Known::Bool(text.to_ascii_lowercase().parse().map_err(|_| missing())?),
        _ => Known::Text(text.to_owned()),
    })
}

/// `ports[0]` is the field `ports` and the item `0`.
fn split_indices(parts: Vec<String>) -> Vec<String> {
    let mut split = Vec::with_capacity(parts.len());
    for part in parts {
        let index = part.strip_suffix(']').and_then(|part| part.rsplit_once('['));
        match index.filter(|(_, index)| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit())) {
            Some((name, index)) => {
                let parts = [name, index];
                split.extend(parts.into_iter().filter(|part| !part.is_empty()).map(str::to_owned));
            }
            None => split.push(part),
        }
    }
    split
}

fn shown(var: &Var) -> String {
    let target = &var.target;
    format!(
        "{{{} {{{} {} {}}} {{{}}}}}",
        var.name, target.gvk, target.name, target.namespace, var.field_path
    )
}

impl Replacer {
    fn replace_in(&mut self, graph: &mut Graph, at: Id) -> Result<()> {
        if graph.is_null(at) {
            return Ok(());
        }
        match graph.kind(at) {
            Kind::Scalar => self.replace_scalar(graph, at),
            Kind::Mapping => {
                let fields: Vec<_> = graph.fields(at).collect();
                for (key, value) in fields {
                    if !graph.is_string(key) {
                        let why = format!("invalid map key: value='{}'", graph.text(key));
                        return Err(Error::object(why).at(graph.pos(key)));
                    }
                    self.replace_scalar(graph, value)?;
                }
                Ok(())
            }
            Kind::Sequence => {
                for item in graph.content(at).to_vec() {
                    if !graph.is_string(item) {
                        return Err(Error::object("invalid value type expect a string").at(graph.pos(item)));
                    }
                    self.replace_scalar(graph, item)?;
                }
                Ok(())
            }
            Kind::Alias => Err(Error::object("invalid type encountered").at(graph.pos(at))),
        }
    }

    fn replace_scalar(&mut self, graph: &mut Graph, at: Id) -> Result<()> {
        if !graph.is_string(at) {
            return Ok(());
        }
        let text = graph.text(at);
        graph.check_room_for(self.expanded_length(text)).at(graph.pos(at))?;
        let (text, tag) = match self.expand(text) {
            Known::Text(text) => (text, Tag::Str),
            Known::Int(value) => (value.to_string(), Tag::Int),
            Known::Bool(value) => (value.to_string(), Tag::Bool),
            Known::Float(value) => (value.to_string(), Tag::Float),
            Known::Structure(_) => return Ok(()),
        };
        graph.set_text(at, text);
        let cell = graph.cell_mut(at);
        cell.tag = tag;
        cell.style = Style::default();
        Ok(())
    }

    /// At least about how long a text with its variables replaced is: numbers are as short as their names.
    fn expanded_length(&self, text: &str) -> usize {
        let uses = text.split("$(").skip(1).filter_map(|rest| rest.split_once(')'));
        let lengths = uses.map(|(name, _)| match self.known.get(name) {
            Some(Known::Text(value) | Known::Structure(value)) => value.len(),
            Some(Known::Int(_) | Known::Float(_) | Known::Bool(_)) | None => 0,
        });
        lengths.fold(text.len(), usize::saturating_add)
    }

    /// A text with its variables replaced. A text that is one variable and nothing else gets the value's own type.
    fn expand(&mut self, text: &str) -> Known {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$').filter(|at| at + 1 < rest.len()) {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let next = after
                .chars()
                .next()
                .expect("there is a character after the dollar sign");
            let name = after
                .strip_prefix('(')
                .and_then(|inner| inner.find(')').map(|end| &inner[..end]));
            rest = match (next, name) {
                ('$', _) => {
                    out.push('$');
                    &after[1..]
                }
                ('(', Some(name)) => {
                    match self.value(name) {
                        Some(value) if text.len() == name.len() + 3 => return value,
                        Some(value) => out.push_str(&in_text(&value)),
                        None => out.push_str(&format!("$({name})")),
                    }
                    &after[name.len() + 2..]
                }
                (other, _) => {
                    out.push('$');
                    out.push(other);
                    &after[other.len_utf8()..]
                }
            };
        }
        out.push_str(rest);
        Known::Text(out)
    }

    /// A variable's value, where it stands for a text.
    fn value(&mut self, name: &str) -> Option<Known> {
        let value = self.known.get(name)?;
        if let Known::Structure(what) = value {
            let warning = format!("MakePrimitiveReplacer: bad replacement {what}");
            self.warnings.push(warning);
            return None;
        }
        self.used.insert(name.to_owned());
        Some(value.clone())
    }

    fn unused(&self) -> String {
        let names: Vec<&str> = self.known.keys().map(String::as_str).collect();
        let unused: Vec<&str> = names.into_iter().filter(|name| !self.used.contains(*name)).collect();
        unused.join(",")
    }
}

/// A value as Go's `%v` writes it.
fn in_go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(in_go).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let fields: Vec<String> = sorted
                .into_iter()
                .map(|(name, value)| format!("{name}:{}", in_go(value)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

fn in_text(value: &Known) -> String {
    match value {
        Known::Text(text) => text.clone(),
        Known::Int(value) => value.to_string(),
        Known::Bool(value) => value.to_string(),
        Known::Float(value) => {
            let node = yaml::from_json(&serde_json::json!(value));
            node.map(|node| node.text().to_owned()).unwrap_or_default()
        }
        Known::Structure(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Known {
        let known = [("A", Known::Text("x".to_owned())), ("N", Known::Int(5))];
        let known = known
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Replacer {
            known,
            ..Replacer::default()
        }
        .expand(text)
    }

    #[test]
    fn variables_are_replaced_in_texts() {
        for (text, result) in [
            ("a $(A) b", "a x b"),
            ("$(A)$(A)", "xx"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$(A", "$(A"),
            ("$A", "$A"),
            ("cost: $", "cost: $"),
            ("n=$(N)", "n=5"),
        ] {
            assert_eq!(expanded(text), Known::Text(result.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_lone_variable_keeps_its_type() {
        assert_eq!(expanded("$(N)"), Known::Int(5));
    }

    #[test]
    fn indices_stand_behind_names() {
        let parts = split_indices(vec!["spec".to_owned(), "ports[0]".to_owned(), "[name=x]".to_owned()]);
        assert_eq!(parts, ["spec", "ports", "0", "[name=x]"]);
    }
}
