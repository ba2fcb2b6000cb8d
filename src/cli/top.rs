//! `top`: what pods and nodes use now, in kubectl's columns.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::context::{Context, write};
use super::error::Result;
use super::node;
use super::print::Layout;
use super::selectors::Selectors;
use crate::model::{Quantity, list_at, text_at};

/// Where metrics are.
const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

/// Show what pods or the node use: CPU and memory.
#[derive(Debug, Subcommand)]
pub enum TopVerb {
    /// Show what pods use
    #[command(visible_aliases = ["pods", "po"])]
    Pod(TopPodArgs),
    /// Show what the node uses
    #[command(visible_aliases = ["nodes", "no"])]
    Node(TopNodeArgs),
}

/// How rows are ordered and shown.
#[derive(Debug, Args)]
struct Rows {
    /// What comes first: who uses most of it
    #[arg(long, value_parser = ["cpu", "memory"], value_name = "FIELD")]
    sort_by: Option<String>,
    /// Leave out the heading
    #[arg(long)]
    no_headers: bool,
}

/// Show what pods use.
#[derive(Debug, Args)]
pub struct TopPodArgs {
    /// One pod
    name: Option<String>,
    #[command(flatten)]
    which: Selectors,
    /// A row for each container
    #[arg(long)]
    containers: bool,
    /// A last row with the sum
    #[arg(long)]
    sum: bool,
    #[command(flatten)]
    rows: Rows,
}

/// Show what the node uses.
#[derive(Debug, Args)]
pub struct TopNodeArgs {
    /// One node
    name: Option<String>,
    /// Only those with these labels
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    labels: Option<String>,
    #[command(flatten)]
    rows: Rows,
}

/// Runs `top`.
///
/// # Errors
/// When the node refuses.
pub async fn run(verb: &TopVerb, context: &Context) -> Result {
    match verb {
        TopVerb::Pod(args) => pods(args, context).await,
        TopVerb::Node(args) => nodes(args).await,
    }
}

async fn pods(args: &TopPodArgs, context: &Context) -> Result {
    if args.name.is_some() {
        args.which.refuse_beside_names()?;
    }
    let scope = context.scope(args.which.all_namespaces);
    let place = scope.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
    let items = get(
        &format!("{METRICS}{place}/pods"),
        args.name.as_deref(),
        &args.which.query(),
    )
    .await?;
    if items.is_empty() {
        match scope {
            Some(namespace) => eprintln!("No resources found in {namespace} namespace."),
            None => eprintln!("No resources found"),
        }
        return Ok(());
    }
    write(&pod_table(&items, args))
}

async fn nodes(args: &TopNodeArgs) -> Result {
    let labels = args.labels.clone().map(|text| ("labelSelector", text));
    let query: Vec<_> = labels.into_iter().collect();
    let items = get(&format!("{METRICS}/nodes"), args.name.as_deref(), &query).await?;
    if items.is_empty() {
        eprintln!("No resources found");
        return Ok(());
    }
    let all = get("/api/v1/nodes", None, &[]).await?;
    write(&node_table(&items, &all, &args.rows))
}

/// The objects of a collection, or one of them.
async fn get(path: &str, name: Option<&str>, query: &[(&str, String)]) -> Result<Vec<Value>> {
    let node = node::connect().await?;
    let path = name.map_or_else(|| path.to_owned(), |name| format!("{path}/{name}"));
    let found: Value = node.own(Method::GET, &path, query, None::<&()>).await?;
    Ok(match name {
        Some(_) => vec![found],
        None => list_at(&found, "/items").to_vec(),
    })
}

/// What something uses, in the units of the columns: thousandths of CPUs and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Used {
    milli_cpu: i128,
    bytes: i128,
}

impl Used {
    /// From a map with `cpu` and `memory`.
    fn of(amounts: Option<&Value>) -> Self {
        let count = |name: &str, unit: &str| {
            let text = amounts.and_then(|amounts| amounts.get(name)?.as_str()).unwrap_or("0");
            let (amount, unit) = (Quantity::parse(text), Quantity::parse(unit).expect("is a quantity"));
            amount.map_or(0, |amount| amount.divided_by(unit))
        };
        Self {
            milli_cpu: count("cpu", "1m"),
            bytes: count("memory", "1"),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            milli_cpu: self.milli_cpu + other.milli_cpu,
            bytes: self.bytes + other.bytes,
        }
    }

    fn cpu(self) -> String {
        format!("{}m", self.milli_cpu)
    }

    fn memory(self) -> String {
        format!("{}Mi", self.bytes >> 20)
    }

    /// The sort key: the largest first.
    fn rank(self, by: Option<&str>) -> i128 {
        match by {
            Some("cpu") => -self.milli_cpu,
            Some(_) => -self.bytes,
            None => 0,
        }
    }
}

fn containers_of(pod: &Value) -> Vec<(String, Used)> {
    let containers = list_at(pod, "/containers").iter();
    let used = |c: &Value| (text_at(c, "/name").to_owned(), Used::of(c.get("usage")));
    containers.map(used).collect()
}

fn pod_table(items: &[Value], args: &TopPodArgs) -> String {
    let by = args.rows.sort_by.as_deref();
    let mut pods: Vec<_> = items
        .iter()
        .map(|pod| {
            let mut containers = containers_of(pod);
            containers.sort_by_key(|(name, used)| (used.rank(by), name.clone()));
            let used = containers
                .iter()
                .map(|(_, used)| *used)
                .fold(Used::default(), Used::plus);
            let name = ["/metadata/namespace", "/metadata/name"].map(|pointer| text_at(pod, pointer).to_owned());
            (name, used, containers)
        })
        .collect();
    pods.sort_by_key(|(name, used, _)| (used.rank(by), name.clone()));
    let with_namespace = args.which.all_namespaces;
    let place = |namespace: &str| with_namespace.then(|| namespace.to_owned());
    let subject: &[&str] = if args.containers { &["POD", "NAME"] } else { &["NAME"] };
    let headings: Vec<&str> = with_namespace
        .then_some("NAMESPACE")
        .into_iter()
        .chain(subject.iter().copied())
        .collect();
    let mut rows = Vec::new();
    for ([namespace, name], used, containers) in &pods {
        let start: Vec<String> = place(namespace).into_iter().chain([name.clone()]).collect();
        if args.containers {
            let of_container = |(container, used): &(String, Used)| {
                let cells = start
                    .iter()
                    .cloned()
                    .chain([container.clone(), used.cpu(), used.memory()]);
                cells.collect::<Vec<_>>()
            };
            rows.extend(containers.iter().map(of_container));
        } else {
            rows.push(start.into_iter().chain([used.cpu(), used.memory()]).collect());
        }
    }
    if args.sum {
        let sum = pods.iter().map(|(_, used, _)| *used).fold(Used::default(), Used::plus);
        let blanks = |cells: usize| std::iter::repeat_n(String::new(), cells);
        rows.push(
            blanks(headings.len())
                .chain(["________".to_owned(), "________".to_owned()])
                .collect(),
        );
        rows.push(
            blanks(headings.len() - 1)
                .chain([String::new(), sum.cpu(), sum.memory()])
                .collect(),
        );
    }
    lay_out(&headings, &["CPU(cores)", "MEMORY(bytes)"], rows, args.rows.no_headers)
}

fn node_table(items: &[Value], all: &[Value], options: &Rows) -> String {
    let by = options.sort_by.as_deref();
    let mut nodes: Vec<_> = items
        .iter()
        .map(|metrics| {
            (
                text_at(metrics, "/metadata/name").to_owned(),
                Used::of(metrics.get("usage")),
            )
        })
        .collect();
    nodes.sort_by_key(|(name, used)| (used.rank(by), name.clone()));
    let rows = nodes.into_iter().map(|(name, used)| {
        let node = all.iter().find(|node| text_at(node, "/metadata/name") == name);
        let has = Used::of(node.and_then(|node| node.pointer("/status/allocatable")));
        let percent = |used: i128, has: i128| {
            (used * 100)
                .checked_div(has)
                .map_or("<unknown>".to_owned(), |p| format!("{p}%"))
        };
        let (cpu, memory) = (percent(used.milli_cpu, has.milli_cpu), percent(used.bytes, has.bytes));
        vec![name, used.cpu(), cpu, used.memory(), memory]
    });
    let columns = ["CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"];
    lay_out(&["NAME"], &columns, rows.collect(), options.no_headers)
}

/// kubectl ends each cell with a blank, the last one too.
fn lay_out(subject: &[&str], columns: &[&str], rows: Vec<Vec<String>>, no_headers: bool) -> String {
    let heading = subject.iter().chain(columns).map(|word| (*word).to_owned()).collect();
    let heading = (!no_headers).then_some(heading);
    let rows: Vec<Vec<String>> = heading
        .into_iter()
        .chain(rows)
        .map(|row: Vec<String>| row.into_iter().chain([String::new()]).collect())
        .collect();
    Layout::default().lay_out(&rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(namespace: &str, name: &str, containers: &[(&str, &str, &str)]) -> Value {
        let usage =
            |(name, cpu, memory): &(&str, &str, &str)| json!({"name": name, "usage": {"cpu": cpu, "memory": memory}});
        let containers: Vec<Value> = containers.iter().map(usage).collect();
        json!({"metadata": {"namespace": namespace, "name": name}, "containers": containers})
    }

    fn table(line: &str) -> Vec<String> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: TopPodArgs,
        }
        let words = std::iter::once("top").chain(line.split_whitespace());
        let Line { args } = clap::Parser::try_parse_from(words).expect("a good line");
        let items = [
            pod("b", "web", &[("main", "1500000n", "2048Ki"), ("side", "250m", "1Mi")]),
            pod("a", "db", &[("db", "0", "500Mi")]),
        ];
        pod_table(&items, &args).lines().map(str::to_owned).collect()
    }

    #[test]
    fn pods_have_kubectls_columns_and_units() {
        assert_eq!(
            table(""),
            [
                "NAME   CPU(cores)   MEMORY(bytes)   ",
                "db     0m           500Mi           ",
                "web    252m         3Mi             ",
            ]
        );
        assert_eq!(
            table("--containers -A --no-headers"),
            [
                "a     db    db     0m     500Mi   ",
                "b     web   main   2m     2Mi     ",
                "b     web   side   250m   1Mi     "
            ]
        );
    }

    #[test]
    fn who_uses_most_comes_first_and_the_sum_last() {
        let names = |line: &str| -> Vec<String> {
            let rows = table(line);
            rows.iter()
                .map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect()
        };
        assert_eq!(names("--no-headers --sort-by cpu"), ["web 252m 3Mi", "db 0m 500Mi"]);
        assert_eq!(names("--no-headers --sort-by memory"), ["db 0m 500Mi", "web 252m 3Mi"]);
        assert_eq!(names("--no-headers --sum")[2..], ["________ ________", "252m 503Mi"]);
    }

    #[test]
    fn a_nodes_part_of_what_it_has_is_told() {
        let metrics = [json!({"metadata": {"name": "n"}, "usage": {"cpu": "500m", "memory": "256Mi"}})];
        let node = [json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}})];
        let rows = Rows {
            sort_by: None,
            no_headers: false,
        };
        let text = node_table(&metrics, &node, &rows);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]);
        assert_eq!(lines[1], ["n", "500m", "25%", "256Mi", "25%"]);
        assert!(node_table(&metrics, &[], &rows).contains("<unknown>"));
    }
}
