//! Trees and values to text, as the reference's two printers write them.
//!
//! A build's output is [`print_value`]: the reference turns every resource into JSON and prints that, so keys are sorted
//! and neither comments nor styles are left. A tree is printed by [`print_document`] where the reference prints one:
//! documents inside of strings that a replacement changed, and annotations that hold YAML.

mod analysis;
mod order;
mod scalar;
mod tree;
mod value;
mod writer;

use super::node::Form;
use super::resolve::{Dialect, Scalar, is_base60, resolve};
pub use order::sort_keys;
pub use tree::{print_document, print_node};
pub use value::print_value;
use writer::{Printer, Writer};

/// The form that the reference asks for when it prints a string of JSON: in quotes where the older reader would take it for something
/// else.
pub fn asked_form(text: &str) -> Form {
    if text.contains('\n') {
        Form::Literal
    } else if resolve(text, Dialect::Legacy) != Scalar::Str || is_base60(text) {
        Form::DoubleQuoted
    } else {
        Form::Default
    }
}

/// The form in which a tree's printer writes a scalar outside of brackets that was asked for in another.
pub fn form_of(text: &str, asked: Form, is_key: bool) -> Form {
    let asked = if matches!(asked, Form::Default | Form::Flow) && text.contains('\n') {
        Form::Literal
    } else {
        asked
    };
    // Most scalars are plain, and most plain ones are so simple that nothing needs to be looked at.
    Writer::new(Printer::Tree, 0).choose_form(text, asked, is_key)
}

/// Whether a plain scalar in brackets is written in quotes.
pub fn quotes_in_flow(text: &str) -> bool {
    text.is_empty() || !analysis::analyze(text, false).plain_in_flow
}
