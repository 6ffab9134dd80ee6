//! Data folders of earlier versions.

use sqlx::migrate::Migrator;

use super::*;

/// A data folder of the version before results had places: an input with equal items, of which one
/// result was found by another than the first; a step of a reduce; a result whose item has left.
#[tokio::test]
async fn results_of_an_earlier_version_find_their_places() {
    let folder = Folder::new();
    fs::write(folder.database(), "").unwrap();
    let mut raw = folder.raw().await;
    let earlier = open::MIGRATOR.iter().filter(|migration| migration.version < 10).cloned().collect();
    Migrator::with_migrations(earlier).run(&mut raw).await.unwrap();
    sqlx::query(
        "INSERT INTO jobs (id, name, simulated, spec, fingerprint, out_dir, state, items, distinct_items, \
         done, dead, created_at, updated_at) VALUES ('j', 'job', 0, '', '', 'out', 'paused', 4, 3, 1, 1, 1, 1)",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    for (cohort, keys) in [(0, [5, 6]), (1, [7, 5])] {
        sqlx::query("INSERT INTO chunks VALUES ('j', $1, $2, 2, $3, x'ffff', '{}' || char(10) || '{}')")
            .bind(cohort)
            .bind(2 * cohort)
            .bind(keys.map(|n| suite::key(n).0).concat())
            .execute(&mut raw)
            .await
            .unwrap();
    }
    let results = [
        ("item", 5, 3, "done", 0),
        ("item", 7, 2, "dead", 0),
        ("item", 9, 1, "done", 1),
        ("reduce", 8, 0, "done", 0),
    ];
    for (part, n, item, state, stale) in results {
        sqlx::query(
            "INSERT INTO results VALUES ('j', $1, $2, $3, $4, '{\"n\":1}', NULL, 'kimi-k2.6', 'kimi', \
             10, 1, 2, 5, 7, 2, 1, 1, 9, '[]', 1, $5)",
        )
        .bind(part)
        .bind(&suite::key(n).0[..])
        .bind(item)
        .bind(state)
        .bind(stale)
        .execute(&mut raw)
        .await
        .unwrap();
    }
    for n in 0..3_u8 {
        let sql = "INSERT INTO kept VALUES ($1, 1, 'kept', 104, $2)";
        sqlx::query(sql).bind(vec![n; 32]).bind(NOW.0).execute(&mut raw).await.unwrap();
    }
    raw.close().await.unwrap();

    let store = folder.open().await;
    let expected = ResultRecord {
        verdict: Verdict::Done("{\"n\":1}".into()),
        ms: 9,
        tries: Vec::new(),
        at: UnixMillis(1),
        ..done("j", 5)
    };
    assert_eq!(store.result("j", 0).await.unwrap(), Some(ResultRecord { item: 0, ..expected.clone() }));
    assert_eq!(store.result("j", 1).await.unwrap(), None);
    let dead = store.result("j", 2).await.unwrap().unwrap();
    assert_eq!((dead.key, dead.verdict), (suite::key(7), Verdict::Dead("{\"n\":1}".into())));
    let step = ResultRecord { part: Part::Reduce, key: suite::key(8), item: 0, ..expected };
    assert_eq!(store.steps("j").await.unwrap(), [step]);
    let ended: Vec<EndedKey> = store.ended("j").try_collect().await.unwrap();
    assert_eq!(
        ended.iter().map(|ended| (ended.key, ended.item)).collect::<Vec<_>>(),
        [(suite::key(5), Some(0)), (suite::key(7), Some(2)), (suite::key(9), None),]
    );
    let chunk = store.items("j").chunk(1).await.unwrap();
    assert_eq!(chunk.items.iter().map(|item| item.first).collect::<Vec<_>>(), [2, 0]);
    let day = std::time::Duration::from_secs(86_400);
    let kept = KeptAnswers::open(&store, 64_000, day, Level::P3).await.unwrap();
    for n in 0..4_u8 {
        let found = kept.get(CallKey([n; 32]), Level::P1).await.unwrap();
        assert_eq!(found, (n < 3).then(|| ("kept".into(), NOW)));
    }
    store.close().await.unwrap();
}
