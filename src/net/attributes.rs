//! Attributes of netlink messages, written and read (`netlink(7)`, `struct nlattr`). Pure.

/// Set in the type of an attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// What of the type is the type: not that it is nested, nor in which order its bytes are.
const KIND: u16 = 0x3fff;

/// Attributes in a row, numbers in network order.
#[derive(Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<u8>);

impl Attributes {
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Attributes {
        let length = u16::try_from(value.len() + 4).expect("lists are cut into parts that fit");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Attributes {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn text(self, kind: u16, value: &str) -> Attributes {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(super) fn nested(self, kind: u16, inner: Attributes) -> Attributes {
        self.nested_bytes(kind, &inner.0)
    }

    /// Attributes that are written already.
    pub(super) fn nested_bytes(self, kind: u16, inner: &[u8]) -> Attributes {
        self.bytes(kind | NESTED, inner)
    }
}

/// The value of the first attribute of a kind.
pub(super) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

/// All attributes with their kinds, up to one that does not fit.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1, ..] = *rest else { return None };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & KIND, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_say_their_own_length() {
        let attributes = Attributes::default().text(1, "ab").number(2, 1).bytes(3, &[7]);
        assert_eq!(attributes.0.len(), 8 + 8 + 8);
        // The length is without the padding, which is zeros.
        assert_eq!(attributes.0[..2], 7_u16.to_ne_bytes());
        assert_eq!(attributes.0[4..8], *b"ab\0\0");
        assert_eq!(attributes.0[12..16], [0, 0, 0, 1]);
        assert_eq!(attributes.0[20..24], [7, 0, 0, 0]);
    }

    #[test]
    fn what_was_written_is_found_and_damage_is_not_read_past() {
        let inner = Attributes::default().number(2, 7);
        let outer = Attributes::default().text(1, "abc").nested(5, inner);
        let found = attribute(&outer.0, 5).and_then(|inner| attribute(inner, 2));
        assert_eq!(found, Some(&7_u32.to_be_bytes()[..]));
        assert_eq!(attribute(&outer.0, 9), None);
        for length in 0..outer.0.len() {
            assert_eq!(attribute(&outer.0[..length], 5), None, "{length}");
        }
        // A length that is no length at all would never end.
        assert_eq!(attribute(&[0; 64], 1), None);
    }
}
