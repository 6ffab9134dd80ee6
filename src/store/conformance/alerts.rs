//! What every backend must hold to with alerts.

use empire_actors::alerts::{Alert, AlertKind, Severity};

use super::*;

fn alert(kind: AlertKind, subject: &str, since: i64) -> Alert {
    Alert {
        kind,
        subject: subject.into(),
        severity: Severity::Warning,
        message: "a message".into(),
        since: UnixMillis(NOW.0 + since),
        last_seen: UnixMillis(NOW.0 + since),
        count: 1,
        told_at: Some(UnixMillis(NOW.0 + since)),
        recovered_at: None,
        acknowledged_at: None,
    }
}

pub(crate) async fn an_alert_has_one_row_that_outlives_a_crash(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.check().await.unwrap();
    let first = alert(AlertKind::Disk, "data folder", 0);
    store.save_alert(first.clone()).await.unwrap();
    store.save_alert(alert(AlertKind::Provider, "kimi", 5)).await.unwrap();
    let worse = Alert { count: 9, severity: Severity::Critical, ..first.clone() };
    store.save_alert(worse.clone()).await.unwrap();
    fixture.crash(store).await;
    let store = fixture.open().await;
    let kept: Vec<Alert> = store.alerts().await.unwrap().into_iter().map(|stored| stored.alert).collect();
    assert_eq!(kept, [alert(AlertKind::Provider, "kimi", 5), worse.clone()]);
    // What is over stands behind what is on; what has been over for long is forgotten.
    let over = Alert { recovered_at: Some(NOW), ..alert(AlertKind::Provider, "kimi", 5) };
    store.save_alert(over.clone()).await.unwrap();
    let long_over = Alert {
        recovered_at: Some(UnixMillis(NOW.0 - 91 * 86_400_000)),
        ..alert(AlertKind::Queue, "mailbox", 7)
    };
    store.save_alert(long_over).await.unwrap();
    store.save_alert(worse.clone()).await.unwrap();
    let kept: Vec<Alert> = store.alerts().await.unwrap().into_iter().map(|stored| stored.alert).collect();
    assert_eq!(kept, [worse, over]);
    store.close().await.unwrap();
}

pub(crate) async fn who_knows_of_an_alert_knows_of_that_one(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let first = alert(AlertKind::Disk, "data folder", 0);
    assert!(!store.acknowledge_alert(AlertKind::Disk, "data folder", "me", "").await.unwrap());
    store.save_alert(first.clone()).await.unwrap();
    assert!(store.acknowledge_alert(AlertKind::Disk, "data folder", "me", "a new disk comes").await.unwrap());
    // Seen again it is the same one …
    store.save_alert(Alert { count: 2, ..first.clone() }).await.unwrap();
    let kept = store.alerts().await.unwrap().remove(0);
    assert_eq!((kept.acknowledged_by.as_deref(), &*kept.reason), (Some("me"), "a new disk comes"));
    assert_eq!((kept.alert.acknowledged_at, kept.alert.count), (Some(NOW), 2));
    store.save_alert(Alert { recovered_at: Some(NOW), ..first }).await.unwrap();
    assert!(!store.acknowledge_alert(AlertKind::Disk, "data folder", "me", "").await.unwrap());
    // … and come up anew it is another.
    store.save_alert(alert(AlertKind::Disk, "data folder", 50)).await.unwrap();
    let kept = store.alerts().await.unwrap().remove(0);
    assert_eq!((kept.acknowledged_by, kept.reason.as_str()), (None, ""));
    assert_eq!(kept.alert.acknowledged_at, None);
    store.close().await.unwrap();
}
