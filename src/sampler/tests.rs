use super::*;

fn folders(at: &std::path::Path) -> Folders {
    Folders { data: at.to_owned(), out: at.join("not/there/yet") }
}

#[tokio::test]
async fn the_real_machine_tells_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let sampler = SystemSampler::new(folders(folder.path()));
    let first = sampler.sample().await;
    assert_eq!(first.cpu, None, "one look tells no CPU");
    assert!(first.own_memory.unwrap() > 1 << 20, "{first:?}");
    assert!((0.0..=100.0).contains(&first.memory.unwrap()), "{first:?}");
    let (open, limit) = first.open_files.unwrap();
    assert!(open > 0 && open <= limit, "{first:?}");
    assert!(first.load.is_some_and(|load| load >= 0.0), "{first:?}");
    let [data, out] = first.disks.as_slice() else { panic!("{first:?}") };
    assert!(data.free > 0 && &*out.what == "output folder", "{first:?}");

    let cpu = loop {
        if let Some(cpu) = sampler.sample().await.cpu {
            break cpu;
        }
    };
    assert!((0.0..=1_000.0).contains(&cpu), "{cpu}");
    let limits = sampler.limits();
    assert!(limits.cores.amount > 0.0 && limits.memory.unwrap().amount > 1 << 20, "{limits:?}");
}

#[test]
fn a_disk_is_that_of_the_nearest_folder_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let disks = folders(folder.path()).disks();
    assert_eq!(disks.len(), 2);
    assert!(disks.iter().all(|disk| disk.free > 0), "{disks:?}");
}
