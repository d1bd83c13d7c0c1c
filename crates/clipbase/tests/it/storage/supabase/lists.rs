//! Listings: whose objects they show, and where an empty one is believed.

use clipbase::storage::{Bucket, KeyLayout, ListCursor, Storage, StorageKey};
use clipbase::{Code, JobId};
use clipbase_testkit::fake_supabase::Call;

use super::{Bench, video};

#[tokio::test]
async fn a_listing_tells_our_objects_from_others_in_either_layout() {
    let bench = Bench::new().await;
    let key = StorageKey::source(JobId::new(), "mp4").unwrap();
    bench.server.put_object("sources", &key.path(), "12345");
    bench.server.put_object("sources", &key.to_string(), "1");
    bench.server.put_object("sources", "holiday/photo.png", "");
    let literal = bench.another(|config| config.with_key_layout(KeyLayout::Literal));
    for (storage, ours) in [(&bench.storage, key.path()), (&literal, key.to_string())] {
        let page = storage.list(Bucket::Sources, None, 10).await.unwrap();
        assert_eq!(page.objects.len(), 3);
        assert!(page.next.is_none());
        for object in page.objects {
            assert_eq!(object.key.is_some(), object.path == ours, "{}", object.path);
        }
    }
}

#[tokio::test]
async fn an_empty_bucket_is_not_a_missing_one() {
    let bench = Bench::new().await;
    let page = bench.storage.list(Bucket::Results, None, 10).await.unwrap();
    assert!(page.objects.is_empty() && page.next.is_none());
    bench.server.remove_bucket("results");
    let refused = bench.storage.list(Bucket::Results, None, 10).await;
    assert_eq!(refused.unwrap_err().code(), Code::StorageUnavailable);
}

#[tokio::test]
async fn a_cursor_of_something_else_is_refused_before_anything_is_asked() {
    let bench = Bench::new().await;
    let cursor = ListCursor::new("elsewhere");
    let refused = bench.storage.list(Bucket::Results, Some(&cursor), 10).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidInput);
    assert_eq!(bench.server.calls(Call::List), 0);
}

#[tokio::test]
async fn what_is_missing_is_believed_only_where_there_is_a_bucket() {
    let bench = Bench::new().await;
    assert_eq!(bench.storage.info(&video()).await.unwrap(), None);
    bench.server.remove_bucket("results");
    let refused = bench.storage.info(&video()).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable, "{refused:?}");
}
