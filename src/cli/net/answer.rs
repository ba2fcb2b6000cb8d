//! What a connection that was followed came to, and how it is told. Pure.

/// Of connections to a target, which ones nothing that the node knows is in the way of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    All,
    /// It depends on the endpoint that they are led to.
    Some {
        reached: usize,
        of: usize,
    },
    None,
}

impl Reach {
    pub(super) fn of(connects: bool) -> Reach {
        if connects { Reach::All } else { Reach::None }
    }
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traced {
    pub(super) steps: Vec<(&'static str, String)>,
    pub(super) reach: Reach,
}

impl Traced {
    /// A line for each step, and the answer.
    pub(super) fn text(&self) -> String {
        let answer = match self.reach {
            Reach::All => {
                "nothing of the node is in the way; whether the other side listens is for it to say".to_owned()
            }
            Reach::Some { reached, of } => {
                format!(
                    "it connects now and then: {reached} of {of} endpoints are reached, and each connection is led to one"
                )
            }
            Reach::None => "it can't connect".to_owned(),
        };
        let steps = self.steps.iter().map(|(word, text)| (*word, text.as_str()));
        let lines = steps.chain([("answer", answer.as_str())]);
        lines.map(|(word, text)| format!("{word:<9} {text}\n")).collect()
    }
}
