//! Endpoints and EndpointSlices.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, list, number, or, text as text_at};
use super::{AGE, Cell, KindTable, NAME, kind_table, text};

/// How many entries a cell shows (`formatEndpoints`, `formatEndpointSlice`).
const SHOWN: usize = 3;

pub(super) static TABLE: KindTable = kind_table(&[NAME, text("Endpoints"), AGE], row);

pub(super) static SLICES: KindTable = kind_table(
    &[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE],
    slice_row,
);

fn row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let mut all = Vec::new();
    for subset in list(object, "/subsets") {
        let addresses = list(subset, "/addresses").iter().map(|address| text_at(address, "/ip"));
        let ports = list(subset, "/ports");
        for address in addresses {
            if ports.is_empty() {
                all.push(address.to_owned());
            }
            let host = match address.contains(':') {
                true => format!("[{address}]"),
                false => address.to_owned(),
            };
            all.extend(ports.iter().map(|port| format!("{host}:{}", number(port, "/port"))));
        }
    }
    vec![cells::name(object), few(&all, "<none>").into(), cells::age(object, now)]
}

fn slice_row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let ports = list(object, "/ports").iter().map(|port| match port.get("port") {
        Some(Value::Number(number)) => number.to_string(),
        _ => "*".to_owned(),
    });
    let addresses = list(object, "/endpoints")
        .iter()
        .flat_map(|endpoint| list(endpoint, "/addresses"))
        .filter_map(Value::as_str)
        .map(str::to_owned);
    vec![
        cells::name(object),
        text_at(object, "/addressType").into(),
        few(&ports.collect::<Vec<_>>(), "<unset>").into(),
        few(&addresses.collect::<Vec<_>>(), "<unset>").into(),
        cells::age(object, now),
    ]
}

/// The first few, and how many more there are.
fn few(all: &[String], none: &str) -> String {
    let shown = all[..all.len().min(SHOWN)].join(",");
    if all.len() > SHOWN {
        return format!("{shown} + {} more...", all.len() - SHOWN);
    }
    or(&shown, none).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_shows_three_and_counts_the_rest() {
        let addresses = [1, 2].map(|last| json!({"ip": format!("10.244.0.{last}")}));
        let ports = json!([{"port": 80}, {"port": 443}]);
        let object = json!({"metadata": {"name": "web"}, "subsets": [{"addresses": addresses, "ports": ports}]});
        let cells = row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(cells[1], "10.244.0.1:80,10.244.0.1:443,10.244.0.2:80 + 1 more...");
        let empty = json!({"metadata": {"name": "web"}, "addressType": "IPv4", "ports": [{}], "endpoints": []});
        assert_eq!(slice_row(&empty, Timestamp::UNIX_EPOCH)[1..4], ["IPv4", "*", "<unset>"]);
    }
}
