//! The YAML room beside the reference, against itself, and against hostile texts.

mod generate;
mod hostile;
mod places;
mod properties;
mod reference;

use serde_json::Value;

use super::*;

/// What a build makes of a text's documents.
fn build(text: &str) -> Result<String, YamlError> {
    let documents = parse_documents(text, FileId::default())?;
    let printed = documents
        .iter()
        .map(|document| print_value(&document_to_json(document)?));
    Ok(printed.collect::<Result<Vec<_>, _>>()?.join("---\n"))
}

/// The first document of a text.
fn read(text: &str) -> Result<Document, YamlError> {
    Ok(parse_document(text, FileId::default())?.expect("the test's text holds a document"))
}

/// The value that was read, without the surprises of printing and reading again.
fn plain_value(node: &Node) -> Result<Value, YamlError> {
    match &node.data {
        Data::Sequence(items) => items
            .iter()
            .map(plain_value)
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Data::Mapping(entries) => entries
            .iter()
            .map(|entry| Ok((entry.key.text().to_owned(), plain_value(&entry.value)?)))
            .collect::<Result<_, _>>()
            .map(Value::Object),
        Data::Scalar(_) => typed::scalar_to_json(typed::scalar_of(&node.tag, node, Dialect::Node)?, node),
        Data::Alias(name) => Err(Problem::UnknownAnchor(name.clone()).at(node.pos)),
    }
}
