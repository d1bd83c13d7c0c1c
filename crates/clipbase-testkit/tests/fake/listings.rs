//! Listings: pages in the order of bytes, folders, other orders.

use serde_json::{Value, json};

use crate::client::{Setup, setup};

const PATHS: [&str; 9] = ["a", "a b", "a!", "a/1", "a/2", "a/b/1", "a0", "b/c/d", "z"];

async fn pages(setup: &Setup, mut ask: Value) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let (status, page) = setup.post("/object/list-v2/sources", ask.clone()).await;
        assert_eq!(status, 200);
        let names = ["folders", "objects"]
            .into_iter()
            .flat_map(|kind| page[kind].as_array().unwrap());
        pages.push(
            names
                .map(|row| row["name"].as_str().unwrap().to_owned())
                .collect(),
        );
        assert_eq!(
            page["hasNext"].as_bool().unwrap(),
            page.get("nextCursor").is_some()
        );
        match page.get("nextCursor") {
            Some(cursor) => ask["cursor"] = cursor.clone(),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn pages_of_any_size_list_everything_once_in_the_order_of_bytes() {
    let setup = setup().await;
    setup.server.put_objects("sources", PATHS, "x");
    let mut sorted = PATHS;
    sorted.sort_unstable();
    for limit in 1..=10 {
        let pages = pages(&setup, json!({ "limit": limit })).await;
        assert!(pages.iter().all(|page| page.len() <= limit));
        assert_eq!(pages.concat(), sorted, "{limit}");
    }
    let below = pages(&setup, json!({"prefix": "a/", "limit": 2})).await;
    assert_eq!(below, [vec!["a/1", "a/2"], vec!["a/b/1"]]);
    let alike = pages(&setup, json!({"prefix": "a"})).await;
    assert_eq!(alike.concat().len(), 7, "a prefix is text, not a folder");
}

#[tokio::test]
async fn a_page_goes_on_where_its_last_object_was_removed() {
    let setup = setup().await;
    setup
        .server
        .put_objects("sources", ["a", "b", "c", "d"], "x");
    for column in ["name", "updated_at"] {
        let mut ask = json!({"limit": 2, "sortBy": {"column": column}});
        let (_, page) = setup.post("/object/list-v2/sources", ask.clone()).await;
        ask["cursor"] = page["nextCursor"].clone();
        setup.delete("sources", &["b"]).await;
        let (_, page) = setup.post("/object/list-v2/sources", ask).await;
        assert_eq!(page["objects"][0]["name"], "c", "{column}");
        setup.server.put_object("sources", "b", "x");
        setup
            .server
            .set_age("sources", "b", std::time::Duration::from_secs(60));
    }
}

#[tokio::test]
async fn more_than_a_thousand_are_never_listed_at_once() {
    let setup = setup().await;
    let paths = (0..2_001).map(|n| format!("{n:05}"));
    setup.server.put_objects("sources", paths, "x");
    for ask in [json!({}), json!({"limit": 5_000})] {
        let sizes: Vec<_> = pages(&setup, ask).await.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1_000, 1_000, 1]);
    }
}

#[tokio::test]
async fn other_orders() {
    let setup = setup().await;
    setup.server.put_objects("sources", PATHS, "x");
    let mut sorted = PATHS;
    sorted.sort_unstable();
    sorted.reverse();
    let ask = json!({"limit": 2, "sortBy": {"column": "name", "order": "desc"}});
    assert_eq!(pages(&setup, ask).await.concat(), sorted);
    setup
        .server
        .set_age("sources", "z", std::time::Duration::from_secs(60));
    let ask = json!({"limit": 4, "sortBy": {"column": "updated_at", "order": "asc"}});
    let listed = pages(&setup, ask).await.concat();
    assert_eq!((listed[0].as_str(), listed.len()), ("z", PATHS.len()));
}

#[tokio::test]
async fn folders_where_they_are_asked_for() {
    let setup = setup().await;
    setup.server.put_objects("sources", PATHS, "x");
    for limit in 1..=8 {
        let ask = json!({"limit": limit, "with_delimiter": true});
        let mut listed = pages(&setup, ask).await.concat();
        listed.sort_unstable();
        assert_eq!(listed, ["a", "a b", "a!", "a/", "a0", "b/", "z"]);
    }
    let (_, level) = setup
        .post("/object/list/sources", json!({"prefix": "a"}))
        .await;
    let level: Vec<_> = level
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["name"].clone(), row["id"].is_null()))
        .collect();
    let want = [("1", false), ("2", false), ("b", true)];
    assert_eq!(
        level,
        want.map(|(name, is_folder)| (json!(name), is_folder))
    );
    let (_, page) = setup
        .post(
            "/object/list/sources",
            json!({"prefix": "", "offset": 1, "limit": 2}),
        )
        .await;
    assert_eq!(
        (&page[0]["name"], &page[1]["name"]),
        (&json!("a b"), &json!("a!"))
    );
    let (_, found) = setup
        .post(
            "/object/list/sources",
            json!({"prefix": "a/", "search": "B"}),
        )
        .await;
    assert_eq!(found[0]["name"], "b");
}

#[tokio::test]
async fn a_row_tells_size_type_and_times() {
    let setup = setup().await;
    setup.upload("sources/a", "content").await;
    let (_, page) = setup.post("/object/list-v2/sources", json!({})).await;
    let row = &page["objects"][0];
    assert_eq!(
        (&row["metadata"]["size"], &row["metadata"]["mimetype"]),
        (&json!(7), &json!("video/mp4"))
    );
    for field in ["id", "updated_at", "created_at", "last_accessed_at"] {
        assert!(row[field].is_string(), "{field}");
    }
}
