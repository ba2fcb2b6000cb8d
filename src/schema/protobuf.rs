//! Kubernetes' protobuf to Kubernetes' JSON: what typed clients send since kubectl 1.32. There is no way back, as no client needs one.
//!
//! The wire does not tell what JSON would leave out, so the table's marks decide: zero values of plain `omitempty` fields go, inlined
//! messages are lifted into their parents, and the handful of types with a JSON form of their own get it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Field, Message, Shape};

/// What stands before every object (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

/// No object of Kubernetes nests deeper; beyond it is malice.
const DEEPEST: usize = 64;

/// Why bytes are no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// They end in the middle of something, or say more than there is.
    #[error("the protobuf ends too early")]
    Short,
    /// They do not begin as Kubernetes' objects do.
    #[error("the body does not begin as a Kubernetes object in protobuf does")]
    NoEnvelope,
    /// A number is longer than numbers are, or a tag is none.
    #[error("the protobuf is malformed at field {0}")]
    Malformed(u32),
    /// A text is not UTF-8.
    #[error("field {0} is not UTF-8")]
    NotText(&'static str),
    /// Messages in messages without end.
    #[error("the protobuf nests deeper than {DEEPEST} messages")]
    TooDeep,
    /// A kind that the table does not have.
    #[error("objects of kind {1} in version {0} can't be read from protobuf")]
    UnknownKind(String, String),
    /// JSON in a field that carries some is none.
    #[error("field {0} does not hold JSON")]
    NotJson(&'static str),
}

type Result<T> = std::result::Result<T, ProtobufError>;

/// An object's kind, and its bytes.
struct Envelope<'a> {
    /// May be empty.
    api_version: String,
    /// May be empty.
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Opens the envelope (`runtime.Unknown`).
    ///
    /// # Errors
    /// When there is none, or it is broken.
    fn open(bytes: &'a [u8]) -> Result<Self> {
        let body = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NoEnvelope)?;
        let mut envelope = Self {
            api_version: String::new(),
            kind: String::new(),
            raw: &[],
        };
        let mut reader = Reader(body);
        while let Some((number, wire)) = reader.next()? {
            match (number, wire) {
                (1, Wire::Bytes(meta)) => {
                    let mut meta = Reader(meta);
                    while let Some((number, wire)) = meta.next()? {
                        match (number, wire) {
                            (1, Wire::Bytes(text)) => envelope.api_version = utf8(text, "apiVersion")?,
                            (2, Wire::Bytes(text)) => envelope.kind = utf8(text, "kind")?,
                            _ => {}
                        }
                    }
                }
                (2, Wire::Bytes(raw)) => envelope.raw = raw,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

/// Decodes an object. What the envelope does not say about its kind is taken from `default`, (`apiVersion`, `kind`).
///
/// # Errors
/// See [`ProtobufError`].
pub fn decode_protobuf(bytes: &[u8], default: (&str, &str)) -> Result<Value> {
    let envelope = Envelope::open(bytes)?;
    let or = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
    let (api_version, kind) = (or(&envelope.api_version, default.0), or(&envelope.kind, default.1));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let message = Message::of_version(group, version, &kind)
        .ok_or_else(|| ProtobufError::UnknownKind(api_version.clone(), kind.clone()))?;
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    read_message(message, envelope.raw, &mut object, 0)?;
    Ok(Value::Object(object))
}

enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed64(u64),
    Fixed32,
}

/// Reads fields one by one.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| ProtobufError::Malformed(0))?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(
                self.take(8)?.try_into().expect("eight bytes were taken"),
            )),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Short)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            _ => return Err(ProtobufError::Malformed(number)),
        };
        Ok(Some((number, wire)))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for place in 0..10 {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Malformed(0))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ProtobufError::Short)?;
        self.0 = rest;
        Ok(taken)
    }
}

fn utf8(bytes: &[u8], field: &'static str) -> Result<String> {
    let text = std::str::from_utf8(bytes).map_err(|_| ProtobufError::NotText(field))?;
    Ok(text.to_owned())
}

fn read_message(message: Message, bytes: &[u8], object: &mut Map<String, Value>, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(ProtobufError::TooDeep);
    }
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        // What is newer than the table is passed over, as Go's decoder does.
        let Some(field) = message.fields().find(|field| field.number == number) else {
            continue;
        };
        match field.shape {
            Shape::One => read_one(field, &wire, object, depth)?,
            Shape::List => {
                if let Some(value) = read_value(field, &wire, depth)? {
                    list_of(object, field.name).push(value);
                }
            }
            Shape::Map => {
                let (key, value) = read_entry(field, &wire, depth)?;
                let entries = object.entry(field.name).or_insert_with(|| json!({}));
                entries
                    .as_object_mut()
                    .expect("maps are only made here")
                    .insert(key, value);
            }
        }
    }
    Ok(())
}

fn list_of<'o>(object: &'o mut Map<String, Value>, name: &str) -> &'o mut Vec<Value> {
    let list = object.entry(name).or_insert_with(|| json!([]));
    list.as_array_mut().expect("lists are only made here")
}

fn read_one(field: Field, wire: &Wire<'_>, object: &mut Map<String, Value>, depth: usize) -> Result<()> {
    if let (true, Some(message), Wire::Bytes(bytes)) = (field.is_inline(), field.message(), wire) {
        return read_message(message, bytes, object, depth + 1);
    }
    let Some(value) = read_value(field, wire, depth)? else {
        return Ok(());
    };
    let is_zero = value == json!("") || value == json!(0) || value == json!(false);
    if !(is_zero && field.omits_zero()) {
        object.insert(field.name.to_owned(), value);
    }
    Ok(())
}

fn read_entry(field: Field, wire: &Wire<'_>, depth: usize) -> Result<(String, Value)> {
    let Wire::Bytes(bytes) = wire else {
        return Err(ProtobufError::Malformed(field.number));
    };
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => key = utf8(text, field.name)?,
            (2, wire) => value = read_value(field, &wire, depth)?,
            _ => {}
        }
    }
    // The wire leaves out what is empty.
    let empty = || {
        if field.value.contains('.') {
            json!({})
        } else {
            json!("")
        }
    };
    Ok((key, value.unwrap_or_else(empty)))
}

/// One value; `None` is one that JSON does not have (a time that is not set).
fn read_value(field: Field, wire: &Wire<'_>, depth: usize) -> Result<Option<Value>> {
    let signed = |number: u64| i64::from_le_bytes(number.to_le_bytes());
    let value = match (field.value, wire) {
        ("string", Wire::Bytes(text)) => utf8(text, field.name)?.into(),
        ("bytes", Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        ("bool", Wire::Varint(number)) => (*number != 0).into(),
        ("int32" | "int64", Wire::Varint(number)) => signed(*number).into(),
        ("double", Wire::Fixed64(bits)) => f64::from_bits(*bits).into(),
        (name, Wire::Bytes(bytes)) if name.contains('.') => return read_typed(field, bytes, depth),
        _ => return Err(ProtobufError::Malformed(field.number)),
    };
    Ok(Some(value))
}

/// A message, by the JSON form of its type.
fn read_typed(field: Field, bytes: &[u8], depth: usize) -> Result<Option<Value>> {
    let short = field.value.rsplit('.').next().unwrap_or_default();
    let part = |wanted: u32| -> Result<Option<Wire<'_>>> {
        let (mut reader, mut found) = (Reader(bytes), None);
        while let Some((number, wire)) = reader.next()? {
            if number == wanted {
                found = Some(wire);
            }
        }
        Ok(found)
    };
    let number = |wanted: u32| -> Result<i64> {
        Ok(match part(wanted)? {
            Some(Wire::Varint(number)) => i64::from_le_bytes(number.to_le_bytes()),
            _ => 0,
        })
    };
    let text = |wanted: u32| -> Result<String> {
        match part(wanted)? {
            Some(Wire::Bytes(text)) => utf8(text, field.name),
            _ => Ok(String::new()),
        }
    };
    Ok(match short {
        "Quantity" => Some(text(1)?.into()),
        "IntOrString" if number(1)? == 1 => Some(text(3)?.into()),
        "IntOrString" => Some(number(2)?.into()),
        "Time" | "MicroTime" if bytes.is_empty() => None,
        "Time" => Some(time(number(1)?, 0, "%Y-%m-%dT%H:%M:%SZ", field)?),
        "MicroTime" => Some(time(number(1)?, number(2)?, "%Y-%m-%dT%H:%M:%S.%6fZ", field)?),
        "Duration" => Some(format!("{}s", number(1)? / 1_000_000_000).into()),
        "FieldsV1" | "RawExtension" => match part(1)? {
            Some(Wire::Bytes(raw)) => {
                Some(serde_json::from_slice(raw).map_err(|_| ProtobufError::NotJson(field.name))?)
            }
            _ => None,
        },
        _ => {
            let message = field.message().ok_or(ProtobufError::Malformed(field.number))?;
            let mut object = Map::new();
            read_message(message, bytes, &mut object, depth + 1)?;
            // Named lists are messages on the wire.
            if short == "ExtraValue" {
                return Ok(Some(object.remove("items").unwrap_or_else(|| json!([]))));
            }
            Some(Value::Object(object))
        }
    })
}

fn time(seconds: i64, nanos: i64, format: &str, field: Field) -> Result<Value> {
    let nanos = i32::try_from(nanos).map_err(|_| ProtobufError::Malformed(field.number))?;
    let time = Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Malformed(field.number))?;
    Ok(time.strftime(format).to_string().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        [&[number << 3 | 2, length], content].concat()
    }

    fn object(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
        [MAGIC, &bytes(1, &meta), &bytes(2, raw)].concat()
    }

    fn decoded(api_version: &str, kind: &str, raw: &[u8]) -> Value {
        decode_protobuf(&object(api_version, kind, raw), ("", "")).expect("decodes")
    }

    #[test]
    fn a_namespace_as_kubectl_sends_it() {
        // metadata: name, generateName "", creationTimestamp {}; spec {}; status {phase ""}.
        let metadata = [bytes(1, b"foo"), bytes(2, b""), bytes(8, b"")].concat();
        let raw = [bytes(1, &metadata), bytes(2, b""), bytes(3, &bytes(1, b""))].concat();
        assert_eq!(
            decoded("v1", "Namespace", &raw),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "foo"}, "spec": {}, "status": {}})
        );
    }

    #[test]
    fn inlined_messages_maps_bytes_and_special_types_get_their_json_form() {
        let secret = [
            bytes(2, &[bytes(1, b"k"), bytes(2, b"v")].concat()),
            bytes(3, b"Opaque"),
        ]
        .concat();
        assert_eq!(
            decoded("v1", "Secret", &secret),
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"k": "dg=="}, "type": "Opaque"})
        );
        // spec.volumes[0]: name, volumeSource.emptyDir.sizeLimit; spec.containers[0].livenessProbe.handler.httpGet.port = 80.
        let limit = bytes(2, &bytes(1, b"1Mi"));
        let volume = [bytes(1, b"v"), bytes(2, &bytes(2, &limit))].concat();
        let get = bytes(2, &[0x08, 0x00, 0x10, 0x50]);
        let probe = bytes(1, &bytes(2, &get));
        let container = [bytes(1, b"c"), bytes(10, &probe)].concat();
        let spec = [bytes(1, &volume), bytes(2, &container)].concat();
        assert_eq!(
            decoded("v1", "Pod", &bytes(2, &spec))["spec"],
            json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
                "containers": [{"name": "c", "livenessProbe": {"httpGet": {"port": 80}}}]})
        );
    }

    #[test]
    fn the_path_tells_the_kind_where_the_envelope_does_not() {
        let value = decode_protobuf(&object("", "", &[]), ("v1", "Pod")).expect("decodes");
        assert_eq!(value, json!({"apiVersion": "v1", "kind": "Pod"}));
        let error = decode_protobuf(&object("v1", "Unheard", &[]), ("v1", "Pod")).expect_err("unknown");
        assert_eq!(error, ProtobufError::UnknownKind("v1".into(), "Unheard".into()));
    }

    #[test]
    fn broken_bytes_are_told() {
        assert_eq!(decode_protobuf(b"{}", ("v1", "Pod")), Err(ProtobufError::NoEnvelope));
        for (raw, error) in [
            (&[0x0a, 0x7f][..], ProtobufError::Short),
            (&[0x0b], ProtobufError::Malformed(1)),
            (&[0xff; 11], ProtobufError::Malformed(0)),
            (&[0x08, 0x01], ProtobufError::Malformed(1)),
            (&bytes(1, &bytes(1, &[0xff])), ProtobufError::NotText("name")),
        ] {
            assert_eq!(decode_protobuf(&object("v1", "Pod", raw), ("", "")), Err(error));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_protobuf(&[MAGIC, &raw].concat(), ("v1", "Pod"));
            let small: Vec<u8> = raw.into_iter().take(100).collect();
            let _ = decode_protobuf(&object("v1", "Pod", &small), ("", ""));
        }
    }
}
