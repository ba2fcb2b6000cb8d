//! Names that are made up: a base and letters in the alphabet of `k8s.io/apimachinery/pkg/util/rand`, which has no vowels, and so makes no
//! words, and nothing that looks alike.

/// The letters.
pub const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Letters of a random suffix.
const SUFFIX: usize = 5;

/// `generateName` keeps this much of its base: with the suffix it is still a name (`names.maxGeneratedNameLength`).
const BASE_LIMIT: usize = 58;

/// A random suffix.
pub fn random_suffix() -> String {
    // 27⁵ is far below 2⁶⁰, and the low 60 bits of a version 4 uuid are random.
    let mut random = uuid::Uuid::new_v4().as_u128() & ((1 << 60) - 1);
    let mut letter = || {
        let place = usize::try_from(random % 27).expect("less than 27");
        random /= 27;
        char::from(ALPHABET[place])
    };
    (0..SUFFIX).map(|_| letter()).collect()
}

/// What `generateName` makes of a base and a suffix.
pub fn generated(base: &str, suffix: &str) -> String {
    format!("{}{suffix}", cut(base, BASE_LIMIT))
}

/// The beginning of a text, of `limit` bytes at most. Names are ASCII, but what a client asks for may be anything.
pub fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_keep_their_base_and_stay_names() {
        assert_eq!(generated("web-", "abcde"), "web-abcde");
        assert_eq!(generated(&"x".repeat(100), "abcde").len(), 63);
        assert_eq!(generated(&"ä".repeat(40), "abcde").chars().count(), 29 + 5);
    }

    #[test]
    fn random_suffixes_have_five_letters_of_the_alphabet() {
        let suffix = random_suffix();
        assert!(
            suffix.len() == 5 && suffix.bytes().all(|letter| ALPHABET.contains(&letter)),
            "{suffix}"
        );
    }
}
