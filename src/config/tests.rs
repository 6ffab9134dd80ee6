use std::fs;

use empire_actors::guard::pressure::Settings;
use empire_actors::level::Zone;
use empire_actors::model::{Structured, Thinking};
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::privacy::keychain::tests as keychain;

fn no_env(_: &str) -> Option<String> {
    None
}

/// The configuration with `own` in the data folder.
fn load(own: &str) -> Result<Config, ConfigError> {
    load_with(own, &no_env)
}

fn load_with(own: &str, env: &Env<'_>) -> Result<Config, ConfigError> {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("empire.toml"), own).unwrap();
    Config::load(home.path(), None, env)
}

/// What is said about `own`, with the data folder's path cut off.
fn complaint(own: &str) -> String {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("empire.toml"), own).unwrap();
    let error = Config::load(home.path(), None, &no_env).unwrap_err().to_string();
    error.replace(&format!("{}/", home.path().display()), "")
}

fn provider<'a>(config: &'a Config, name: &str) -> &'a ProviderSetting {
    &config.providers[&ProviderId::from(name)]
}

#[test]
fn budgets_are_read_in_dollars_and_euros_and_errors_name_the_field() {
    let config = load(
        "[budget]\neur_usd = \"1.2\"\nmonth = \"10 EUR\"\nday = 2\nalerts = [90]\n\
         [budget.roles]\ngrowth = \"€1\"\n[providers.kimi]\ncap = \"5 EUR\"",
    )
    .unwrap();
    let budget = &config.budget;
    assert_eq!((budget.month, budget.day), (Some(Micros(12_000_000)), Some(Micros(2_000_000))));
    assert_eq!(budget.roles[&crate::job::Role::Growth], Micros(1_200_000));
    assert_eq!(budget.approval_above, Some(Micros(12_000_000)));
    assert_eq!(budget.alerts, [90]);
    assert_eq!(provider(&config, "kimi").spec.cap, Some(Micros(6_000_000)));
    assert_eq!(config.actions["x.post"].price, Micros(15_000));
    for (own, said) in [
        (
            "[budget]\nday = \"five\"",
            "`budget.day` is \"five\", which is no amount of money: write dollars or euros",
        ),
        ("[budget]\neur_usd = 0", "`budget.eur_usd` is $0.00"),
        ("[budget.roles]\nchef = 1", "`budget.roles.chef` names no role: the roles are research"),
        ("[budget]\nalerts = [0]", "`budget.alerts` holds something else than numbers from 1 to 100"),
        ("[actions.\"x.like\"]\nprovider = \"x\"\nprice = 1", "`actions.\"x.like\".price_date` is missing"),
        (
            "[providers.kimi]\nbalance = \"guess\"",
            "`providers.kimi.balance` is \"guess\": it must be \"moonshot\"",
        ),
    ] {
        let complaint = complaint(own);
        assert!(complaint.contains(said), "{complaint}");
    }
}

#[test]
fn what_ships_is_what_the_design_says() {
    let home = TempDir::new().unwrap();
    let config = Config::load(home.path(), None, &no_env).unwrap();
    let zones = config.providers.values().map(|p| (p.spec.id.as_str(), p.spec.zone)).collect::<Vec<_>>();
    assert_eq!(zones, [("claude", Zone::Cloud), ("kimi", Zone::Cloud), ("ollama", Zone::Local)]);
    let kimi = provider(&config, "kimi");
    assert_eq!(kimi.spec.cap, Some(Micros(12_000_000)));
    let limits = &kimi.spec.limits;
    assert_eq!(
        (limits.concurrency, limits.requests_per_minute, limits.requests_per_day),
        (50, Some(100), Some(10_000))
    );
    assert_eq!((limits.requests_per_hour, limits.tokens_per_minute), (None, Some(2_000_000)));
    let model = &config.models["kimi-k2.6"];
    let price = model.price.unwrap();
    assert_eq!(
        (price.input, price.cached_input, price.output),
        (Micros(950_000), Micros(160_000), Micros(4_000_000))
    );
    assert_eq!((model.thinking, model.structured), (Thinking::Off, Structured::JsonObject));
    assert_eq!(config.model_facts["kimi-k2.6"].batch_discount, Some(60));
    let route = config.resolve_route(&config.route).unwrap();
    let ids: Vec<&str> = route.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["qwen2.5-coder:7b", "kimi-k2.6", "claude-sonnet-4-6"]);
    assert!(route[0].is_free() && !route[1].is_free());
    assert_eq!(config.missing_key(&"kimi".into()), Some("set MOONSHOT_API_KEY".to_owned()));
    assert_eq!(config.missing_key(&"ollama".into()), None);
}

#[test]
fn later_layers_win_field_by_field() {
    let home = TempDir::new().unwrap();
    let extra = home.path().join("extra.toml");
    fs::write(
        home.path().join("empire.toml"),
        "[providers.kimi]\nconcurrency = 7\ncap = 2\n[providers.ollama]\nbase_url = \"http://10.0.0.1:1\"\n[models.\"kimi-k2.6\".price]\noutput = 4.5",
    )
    .unwrap();
    fs::write(
        &extra,
        "[providers.kimi]\nconcurrency = 9\nrequests_per_day = \"none\"\n[route]\ndefault = [\"ollama\"]",
    )
    .unwrap();
    let env = |name: &str| match name {
        "OLLAMA_HOST" => Some("0.0.0.0:7777".to_owned()),
        "MOONSHOT_API_KEY" => Some(" key-1\n".to_owned()),
        _ => None,
    };
    let config = Config::load(home.path(), Some(&extra), &env).unwrap();
    let kimi = provider(&config, "kimi");
    assert_eq!((kimi.spec.limits.concurrency, kimi.spec.limits.requests_per_day), (9, None));
    assert_eq!((kimi.spec.cap, kimi.spec.limits.requests_per_minute), (Some(Micros(2_000_000)), Some(100)));
    assert_eq!(kimi.key.as_ref().unwrap().expose_secret(), "key-1");
    assert_eq!(config.missing_key(&kimi.spec.id), None);
    let price = config.models["kimi-k2.6"].price.unwrap();
    assert_eq!((price.input, price.output), (Micros(950_000), Micros(4_500_000)));
    assert_eq!(provider(&config, "ollama").base_url, "http://127.0.0.1:7777");
    assert_eq!(config.route, ["ollama"]);
    assert!(!format!("{config:?}").contains("key-1"), "a key shows when the configuration is logged");
}

#[test]
fn a_layer_may_turn_a_price_into_free_and_back() {
    let config = load("[models.\"kimi-k2.6\"]\nfree = true\n[models.\"glm-4.7-flash\"]\nprice = { input = 1, output = \"$2\" }").unwrap();
    assert!(config.models["kimi-k2.6"].is_free());
    let price = config.models["glm-4.7-flash"].price.unwrap();
    assert_eq!(
        (price.cached_input, price.cache_write, price.output),
        (Micros(1_000_000), Micros(1_000_000), Micros(2_000_000))
    );
}

#[test]
fn every_mistake_names_file_line_field_and_remedy() {
    let table = [
        (
            "[providers.kimi]\n\nconcurency = 5",
            "empire.toml:3: unknown field `providers.kimi.concurency`: did you mean `concurrency`? known are dialect, base_url, key_env, zone, timeout, connect_timeout, concurrency, requests_per_minute, requests_per_hour, requests_per_day, tokens_per_minute, tokens_per_day, input_tokens_per_minute, output_tokens_per_minute, tokens_counted, switch_after, cap, balance, default_model",
        ),
        (
            "[providers.kimi]\nconcurrency = 0",
            "empire.toml:2: `providers.kimi.concurrency` is 0: it must be from 1 to 100000",
        ),
        (
            "[providers.kimi]\ntimeout = \"5 parsecs\"",
            "empire.toml:2: `providers.kimi.timeout` is \"5 parsecs\", which is no duration: write a number and a unit (ms, s, m, h, d), like \"5s\" or \"1h30m\"",
        ),
        (
            "[providers.kimi]\ntimeout = 5",
            "empire.toml:2: `providers.kimi.timeout` is a number, not text: write it like \"text\"",
        ),
        (
            "[providers.kimi]\nkey_env = \"sk-hunter2\"",
            "empire.toml:2: `providers.kimi.key_env` is no name of a variable: put the key itself into an environment variable and write that variable's name here, like \"MOONSHOT_API_KEY\", or keep it in the keychain and write keychain:SERVICE/ACCOUNT",
        ),
        (
            "[providers.kimi]\nkey_env = \"keychain:hunter2\"",
            "empire.toml:2: `providers.kimi.key_env` names no entry of the keychain: write keychain:SERVICE/ACCOUNT, like \"keychain:moonshot/me\"",
        ),
        (
            "[providers.kimi]\nbase_url = \"http://api.moonshot.ai/v1\"",
            "empire.toml:2: `providers.kimi.base_url` would send a key in clear over the internet: use https://",
        ),
        (
            "[providers.mine]\ndialect = \"openai\"",
            "empire.toml:1: `providers.mine.base_url` is missing: say where the server is, like \"http://127.0.0.1:11434\"",
        ),
        (
            "[providers.kimi]\ndialect = \"openal\"",
            "empire.toml:2: `providers.kimi.dialect` is \"openal\": it must be \"ollama\" or \"openai\" or \"anthropic\"",
        ),
        (
            "[models.\"kimi-k2.6\"]\nprice = { input = \"0.95€\", output = 4 }",
            "empire.toml:2: `models.\"kimi-k2.6\".price.input` is \"0.95€\", which is no amount of money: write dollars with up to six decimals, like \"0.95\"",
        ),
        (
            "[models.x]\nprovider = \"olama\"\ncontext = 1\nmax_output = 1",
            "empire.toml:2: `models.x.provider` names no provider: \"olama\": did you mean `ollama`? known are claude, kimi, ollama",
        ),
        (
            "[models.\"gpt-oss:120b-cloud\"]\nprovider = \"ollama\"\ncontext = 8\nmax_output = 8",
            "empire.toml:2: `models.\"gpt-oss:120b-cloud\".provider` is ollama, which is zone 1 (this machine), but Ollama runs `gpt-oss:120b-cloud` in the cloud: serve it by a second ollama provider that has zone = 3",
        ),
        (
            "[providers.ollama]\ndefault_model = \"kimi-k2.6\"",
            "empire.toml:2: `providers.ollama.default_model` is \"kimi-k2.6\", which kimi serves: name a model of ollama",
        ),
        (
            "[route]\ndefault = [\"olama\"]",
            "empire.toml:2: `route.default` cannot be followed: no model or provider is called `olama`: did you mean `ollama`? known are claude, kimi, ollama, claude-opus-4-6, claude-sonnet-4-6, deepseek-r1:8b, glm-4.7-flash, kimi-k2.6, qwen2.5-coder:7b",
        ),
        (
            "[budget]\ntotal = 0",
            "empire.toml:2: `budget.total` is $0.00: give it more than 0; to spend nothing, name only local models in the route",
        ),
        (
            "[budget]\njob_default = 99",
            "empire.toml:2: `budget.job_default` is $99.00, more than budget.total ($15.00): lower it or raise the total",
        ),
        ("route = 5", "empire.toml:1: `route` is a number, not a table: write it like [route]"),
        ("[a]\nb = 1\n[a", "empire.toml:3: not valid TOML: unclosed table, expected `]`: correct this line"),
        (
            "[privacy.allow]\n\" \" = \"x\"",
            "empire.toml:2: `privacy.allow.\" \"` names no value: write the value that may leave before the `=`",
        ),
        (
            "[route]\ndefault = [\"ollama\"]\n[route.difficulty]\neasy = \"nosuch\"",
            "empire.toml:4: `route.difficulty.easy` cannot be followed: no model or provider is called `nosuch`: ",
        ),
    ];
    for (own, expected) in table {
        let complaint = complaint(own);
        // What is known is listed after the last colon of some.
        let is_said =
            if expected.ends_with(": ") { complaint.starts_with(expected) } else { complaint == expected };
        assert!(is_said, "{complaint}");
    }
}

#[test]
fn a_file_that_is_no_text_is_named() {
    let home = TempDir::new().unwrap();
    let missing = home.path().join("none.toml");
    let error = Config::load(home.path(), Some(&missing), &no_env).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}: cannot be read: ", missing.display())), "{error}");
    fs::write(home.path().join("empire.toml"), b"# \n\n# \xff").unwrap();
    let error = Config::load(home.path(), None, &no_env).unwrap_err();
    assert!(error.to_string().contains("line 3 is not valid UTF-8"), "{error}");
    fs::write(home.path().join("empire.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    let error = Config::load(home.path(), None, &no_env).unwrap_err();
    assert!(error.to_string().contains("longer than 1 MiB"), "{error}");
}

#[test]
fn no_setting_makes_a_server_more_trusted_than_its_address() {
    let server = |dialect: &str, url: &str, zone: &str| {
        let own =
            format!("[providers.x]\ndialect = \"{dialect}\"\nbase_url = \"{url}\"\nconcurrency = 1\n{zone}");
        load(&own).map(|config| provider(&config, "x").spec.zone)
    };
    let allowed = [
        ("ollama", "http://127.0.0.1:1", "", Zone::Local),
        ("ollama", "http://127.0.0.1:1", "zone = 3", Zone::Cloud),
        ("ollama", "http://100.100.1.1:1", "", Zone::Vpn),
        ("ollama", "http://example.com", "", Zone::Cloud),
        ("openai", "http://127.0.0.1:1/v1", "", Zone::Cloud),
        ("openai", "http://127.0.0.1:1/v1", "zone = 1", Zone::Local),
        ("openai", "http://10.0.0.7:1/v1", "zone = 2", Zone::Vpn),
        ("anthropic", "https://example.com", "zone = 4", Zone::Internet),
    ];
    for (dialect, url, zone, expected) in allowed {
        assert_eq!(server(dialect, url, zone), Ok(expected), "{dialect} {url} {zone}");
    }
    let refused = [
        ("ollama", "http://example.com", "zone = 1"),
        ("ollama", "http://100.100.1.1:1", "zone = 1"),
        ("openai", "https://api.moonshot.ai/v1", "zone = 1"),
        ("openai", "https://api.moonshot.cn/v1", "zone = 2"),
        ("anthropic", "https://api.anthropic.com", "zone = 1"),
        ("openai", "http://10.0.0.7:1/v1", "zone = 1"),
    ];
    for (dialect, url, zone) in refused {
        assert!(
            matches!(server(dialect, url, zone), Err(ConfigError::Invalid { .. })),
            "{dialect} {url} {zone}"
        );
    }
    let env = |name: &str| (name == "OLLAMA_HOST").then(|| "http://example.com".to_owned());
    let error = load_with("[providers.ollama]\nzone = 1", &env).unwrap_err().to_string();
    assert!(
        error.contains("the address in base_url (environment variable OLLAMA_HOST) is zone 3"),
        "{error}"
    );
    assert_eq!(provider(&load_with("", &env).unwrap(), "ollama").spec.zone, Zone::Cloud);
}

#[test]
fn a_cloud_model_of_an_ollama_is_served_from_zone_3() {
    let own = "[providers.far]\ndialect = \"ollama\"\nbase_url = \"http://127.0.0.1:11434\"\nzone = 3\nconcurrency = 1\n[models.\"k:cloud\"]\nprovider = \"far\"\ncontext = 8\nmax_output = 8";
    assert!(load(own).unwrap().models["k:cloud"].price.is_none());
}

#[test]
fn routes_name_models_or_providers_each_once() {
    let config =
        load("[providers.bare]\ndialect = \"ollama\"\nbase_url = \"http://127.0.0.1:1\"\nconcurrency = 1")
            .unwrap();
    let resolve = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let models = config.resolve_route(&names)?;
        Ok(models.iter().map(|model| model.id.clone()).collect::<Vec<_>>())
    };
    assert_eq!(resolve(&["kimi", "claude-opus-4-6", "kimi-k2.6"]).unwrap(), ["kimi-k2.6", "claude-opus-4-6"]);
    assert_eq!(resolve(&[]), Err(ConfigError::EmptyRoute));
    assert_eq!(resolve(&["bare"]), Err(ConfigError::NoDefaultModel { provider: "bare".to_owned() }));
    let error = resolve(&["kimi-k2.5"]).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "no model or provider is called `kimi-k2.5`: did you mean `kimi-k2.6`? known are bare, "
        ),
        "{error}"
    );
}

#[test]
fn a_key_that_cannot_be_sent_is_refused_without_showing_it() {
    let env = |name: &str| (name == "ANTHROPIC_API_KEY").then(|| "hunter2 hunter3".to_owned());
    let error = load_with("", &env).unwrap_err().to_string();
    assert!(
        error.starts_with("environment variable ANTHROPIC_API_KEY: ") && !error.contains("hunter"),
        "{error}"
    );
    let empty = |name: &str| (name == "ANTHROPIC_API_KEY").then(String::new);
    let config = load_with("", &empty).unwrap();
    assert_eq!(config.missing_key(&"claude".into()), Some("set ANTHROPIC_API_KEY".to_owned()));
}

#[test]
fn a_key_in_the_keychain_is_a_key_and_an_own_secret() {
    let entry = keychain::entry("moonshot/me");
    let own = "[providers.kimi]\nkey_env = \"keychain:moonshot/me\"";
    let mut config = load(own).unwrap();
    let remedy = config.missing_key(&"kimi".into()).unwrap();
    assert!(remedy.starts_with("store one as keychain:moonshot/me (`"), "{remedy}");
    let open = keychain::with(&entry, b" key-of-mine\n");
    assert_eq!(
        config.own_secrets(&no_env, &open).unwrap().secrets.len(),
        1,
        "known although nothing is called"
    );
    config.unlock(&open).unwrap();
    assert_eq!(config.missing_key(&"kimi".into()), None);
    assert_eq!(provider(&config, "kimi").key.as_ref().unwrap().expose_secret(), "key-of-mine");
    let own_secrets = config.own_secrets(&no_env, &keychain::with(&entry, b"another")).unwrap();
    assert_eq!(own_secrets.secrets.find("it is key-of-mine").count(), 1);
    assert!(!format!("{config:?}").contains("key-of-mine"));

    // Nothing is there: no key, and nothing that is refused.
    let mut config = load(own).unwrap();
    let other = keychain::with(&keychain::entry("moonshot/you"), b"key-of-yours");
    config.unlock(&other).unwrap();
    assert!(config.missing_key(&"kimi".into()).is_some());

    // It cannot be read: nothing goes on.
    let locked = || keychain::refusing(&entry, keychain::locked());
    for error in [
        config.unlock(&locked()).unwrap_err().to_string(),
        config.own_secrets(&no_env, &locked()).unwrap_err().to_string(),
    ] {
        assert!(error.contains("keychain:moonshot/me") && error.contains("locked"), "{error}");
    }
    let error = config.unlock(&keychain::with(&entry, b"hunter2 hunter3")).unwrap_err().to_string();
    assert!(error.starts_with("keychain: `keychain:moonshot/me`") && !error.contains("hunter"), "{error}");
}

#[test]
fn an_own_secret_in_a_locked_keychain_is_an_error() {
    let entry = keychain::entry("github/me");
    let config = load("[privacy]\nown_secrets = [\"keychain:github/me\"]").unwrap();
    let open = keychain::with(&entry, b"value-of-mine");
    assert_eq!(config.own_secrets(&no_env, &open).unwrap().secrets.find("a value-of-mine b").count(), 1);
    let error = config.own_secrets(&no_env, &keychain::refusing(&entry, keychain::locked())).unwrap_err();
    assert!(error.to_string().contains("keychain:github/me"), "{error}");
    let wrong = complaint("[privacy]\nown_secrets = [\"hunter2\"]");
    assert!(
        wrong.starts_with("empire.toml:2: `privacy.own_secrets`") && !wrong.contains("hunter2"),
        "{wrong}"
    );
}

#[test]
fn a_simulator_takes_every_call_but_changes_no_zone() {
    let config = load("").unwrap();
    let simulated = config.simulated("http://127.0.0.1:9/");
    for (id, setting) in &simulated.providers {
        assert!(
            setting.base_url.starts_with("http://127.0.0.1:9") && simulated.missing_key(id).is_none(),
            "{id}"
        );
        assert_eq!(setting.spec, config.providers[id].spec);
    }
    let far = config.simulated("http://198.51.100.1:9");
    assert_eq!(provider(&far, "ollama").spec.zone, Zone::Cloud);
}

#[test]
fn the_data_folder_is_found_flag_first() {
    let env = |name: &str| match name {
        "EMPIRE_HOME" => Some("/e".to_owned()),
        "HOME" => Some("/h".to_owned()),
        _ => None,
    };
    let home_only = |name: &str| (name == "HOME").then(|| "/h".to_owned());
    assert_eq!(data_dir(Some(Path::new("/f")), &env), Ok(PathBuf::from("/f")));
    assert_eq!(data_dir(None, &env), Ok(PathBuf::from("/e")));
    assert_eq!(data_dir(None, &home_only), Ok(PathBuf::from("/h/.empire")));
    assert_eq!(data_dir(None, &no_env), Err(ConfigError::NoHome));
}

#[test]
fn the_guard_ships_with_the_thresholds_of_the_design() {
    use empire_actors::guard::pressure::{Gauge, Thresholds};
    let config = load("").unwrap();
    let real = config.guard.settings(false);
    assert_eq!(real.of(Gauge::Cpu), Some(Thresholds { throttle: 70.0, alert: 85.0, emergency: 95.0 }));
    assert_eq!((real.alert_after, real.disk_floor), (Duration::from_secs(300), 10 << 30));
    assert!(Gauge::ALL.into_iter().all(|gauge| real.of(gauge).is_some()));
    let simulated = config.guard.settings(true);
    assert_eq!(simulated.disk_floor, 256 << 20);
    assert_eq!(Settings { disk_floor: real.disk_floor, ..simulated }, real);
}

#[test]
fn each_threshold_of_the_guard_can_be_set_or_left_out() {
    use empire_actors::guard::pressure::Gauge;
    let own = "[guard]\ncpu.throttle = 55.5\nload = \"none\"\ndisk_floor = \"3 GB\"\nown_memory_ceiling = \"700 mib\"";
    let settings = load(own).unwrap().guard.settings(false);
    assert_eq!(settings.of(Gauge::Cpu).unwrap().throttle, 55.5);
    assert_eq!(settings.of(Gauge::Load), None);
    assert_eq!((settings.disk_floor, settings.own_memory_ceiling), (3_000_000_000, 700 << 20));
    assert_eq!(load("[guard]\ndisk_floor = \"none\"").unwrap().guard.settings(false).disk_floor, 0);
}

#[test]
fn settings_of_the_guard_that_cannot_be_are_named() {
    for (own, said) in [
        ("cpu.throttle = 120", "empire.toml:2: `guard.cpu.throttle` is 120: it must be from 0 to 100"),
        (
            "cpu.alert = 60",
            "empire.toml:2: `guard.cpu.alert` is 60, less than the level before it (70): throttle, alert and emergency go upwards",
        ),
        (
            "memory = 90",
            "empire.toml:2: `guard.memory` is a number, not a table: write it like [guard.memory]",
        ),
        ("cpu.alarm = 3", "empire.toml:2: unknown field `guard.cpu.alarm`: "),
        (
            "disk_floor = \"plenty\"",
            "empire.toml:2: `guard.disk_floor` is \"plenty\", which is no size: write a whole number and a unit",
        ),
        ("disk_floor = \"99999999999 TiB\"", "which is no size"),
        (
            "own_memory_ceiling = \"0 B\"",
            "empire.toml:2: `guard.own_memory_ceiling` is no memory at all: write own_memory = \"none\"",
        ),
        ("margin = 80", "empire.toml:2: `guard.margin` is 80: it must be from 0 to 50"),
        ("dwel = \"1s\"", "empire.toml:2: unknown field `guard.dwel`: did you mean `dwell`?"),
    ] {
        let complaint = complaint(&format!("[guard]\n{own}"));
        assert!(complaint.contains(said), "{own}: {complaint}");
    }
}
