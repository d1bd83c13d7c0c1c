//! Asking PostgreSQL how it would run a declared statement.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clipbase::db::Statement;
use serde_json::Value;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

/// A node of a plan.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: String,
    pub(super) table: Option<String>,
    pub(super) index: Option<String>,
}

/// A plan, flattened.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    /// What the planner thinks it costs.
    pub(super) cost: f64,
    /// Pages touched, where the statement was run.
    pub(super) buffers: i64,
}

impl Plan {
    /// The tables that are read from one end to the other.
    pub(super) fn seq_scans(&self) -> BTreeSet<&str> {
        self.nodes
            .iter()
            .filter(|node| node.kind.contains("Seq Scan"))
            .filter_map(|node| node.table.as_deref())
            .collect()
    }

    pub(super) fn has(&self, kind: &str) -> bool {
        self.nodes.iter().any(|node| node.kind.contains(kind))
    }

    pub(super) fn indexes(&self) -> BTreeSet<&str> {
        self.nodes
            .iter()
            .filter_map(|node| node.index.as_deref())
            .collect()
    }
}

/// How the plan for parameters of any value looks: the one that a prepared statement ends up with.
pub(super) async fn generic(client: &Client, statement: &Statement) -> Plan {
    let nulls = vec!["NULL"; statement.params.len()];
    run(client, statement, "force_generic_plan", "", &nulls).await
}

/// How the plan for these values looks.
pub(super) async fn custom(client: &Client, statement: &Statement, arguments: &[&str]) -> Plan {
    run(client, statement, "force_custom_plan", "", arguments).await
}

/// Runs the statement by its generic plan, counts the pages, and takes everything back.
pub(super) async fn analyzed(client: &Client, statement: &Statement, arguments: &[&str]) -> Plan {
    client.batch_execute("BEGIN").await.unwrap();
    let options = "ANALYZE, BUFFERS, TIMING OFF, ";
    let plan = run(client, statement, "force_generic_plan", options, arguments).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    plan
}

/// Whether PostgreSQL, left to itself, goes on planning the statement each time it is called so.
pub(super) async fn is_planned_anew(
    client: &Client,
    statement: &Statement,
    arguments: &[&str],
) -> bool {
    let types: Vec<&str> = statement.params.iter().map(Type::name).collect();
    let prepare = format!(
        "PREPARE planned {} AS {}",
        parenthesized(&types),
        statement.sql
    );
    client.batch_execute(&prepare).await.unwrap();
    // Five times it tries the plan for these values, and then it compares.
    for _ in 0..7 {
        let sql = format!("EXPLAIN EXECUTE planned {}", parenthesized(arguments));
        client.simple_query(&sql).await.unwrap();
    }
    let counts = "SELECT generic_plans FROM pg_prepared_statements WHERE name = 'planned'";
    let row = client.query_one(counts, &[]).await.unwrap();
    client.batch_execute("DEALLOCATE planned").await.unwrap();
    row.get::<_, i64>(0) == 0
}

async fn run(
    client: &Client,
    statement: &Statement,
    mode: &str,
    options: &str,
    arguments: &[&str],
) -> Plan {
    let types: Vec<&str> = statement.params.iter().map(Type::name).collect();
    let declared = parenthesized(&types);
    let sql = format!(
        "SET plan_cache_mode = {mode}; PREPARE planned {declared} AS {}",
        statement.sql
    );
    client
        .batch_execute(&sql)
        .await
        .unwrap_or_else(|error| panic!("{}: {error:?}", statement.name));
    let sql = format!(
        "EXPLAIN ({options}FORMAT JSON) EXECUTE planned {}",
        parenthesized(arguments)
    );
    let answer = client
        .simple_query(&sql)
        .await
        .unwrap_or_else(|error| panic!("{}: {error:?}", statement.name));
    client
        .batch_execute("DEALLOCATE planned; RESET plan_cache_mode")
        .await
        .unwrap();
    let text: String = answer
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    parse(&text)
}

fn parenthesized(items: &[&str]) -> String {
    if items.is_empty() {
        String::new()
    } else {
        format!("({})", items.join(", "))
    }
}

fn parse(text: &str) -> Plan {
    let json: Value = serde_json::from_str(text).unwrap();
    let root = &json[0]["Plan"];
    let mut plan = Plan {
        nodes: Vec::new(),
        cost: root["Total Cost"].as_f64().unwrap(),
        buffers: pages(root),
    };
    flatten(root, &mut plan.nodes);
    for trigger in json[0]["Triggers"].as_array().into_iter().flatten() {
        plan.buffers += pages(trigger);
    }
    plan
}

fn pages(node: &Value) -> i64 {
    ["Shared Hit Blocks", "Shared Read Blocks"]
        .iter()
        .filter_map(|name| node[name].as_i64())
        .sum()
}

fn flatten(node: &Value, nodes: &mut Vec<Node>) {
    let text = |name: &str| node[name].as_str().map(str::to_owned);
    nodes.push(Node {
        kind: text("Node Type").unwrap(),
        table: text("Relation Name"),
        index: text("Index Name"),
    });
    for child in node["Plans"].as_array().into_iter().flatten() {
        flatten(child, nodes);
    }
}

/// A few lines on a plan, for a failed test.
pub(super) fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    for node in &plan.nodes {
        let table = node.table.as_deref().unwrap_or_default();
        let index = node.index.as_deref().unwrap_or_default();
        writeln!(text, "    {} {table} {index}", node.kind).unwrap();
    }
    text
}
