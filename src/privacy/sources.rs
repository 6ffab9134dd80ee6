//! Files have a level by their place: what is built from one is at least that private, whatever a
//! job says.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use empire_actors::level::Level;

/// Links that lead to nothing, one after the other: the system gives up there, too.
const MOST_LINKS: u32 = 40;

/// One configured place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRule {
    /// As written: a file, or a folder with everything under it (`/**` at the end is the same).
    pub path: String,
    /// The level of what is there.
    pub level: Level,
}

/// The configured places, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct SourceRules {
    /// Resolved roots, as written, and their levels.
    rules: Vec<(PathBuf, SourceRule)>,
}

impl SourceRules {
    /// Resolves the rules' own paths: `~` is `home`, symlinks and `..` are followed as far as the
    /// path exists.
    ///
    /// # Errors
    /// A path is neither absolute nor under `~`, uses wildcards in another place than the end, or
    /// cannot be resolved; the text says which and why.
    pub fn new(rules: &[SourceRule], home: Option<&Path>) -> Result<SourceRules, String> {
        let resolved = rules.iter().map(|rule| {
            let root = rule_root(&rule.path, home)?;
            let root =
                resolve(&root).map_err(|error| format!("`{}` cannot be resolved: {error}", rule.path))?;
            Ok((root, rule.clone()))
        });
        Ok(SourceRules { rules: resolved.collect::<Result<_, String>>()? })
    }

    /// The level of a file and the rule that gives it; `None` where no rule says. The rule with the
    /// longest path decides; of equally long ones, the most private.
    ///
    /// # Errors
    /// The path cannot be resolved, so that nobody knows where it leads.
    pub fn level_of(&self, file: &Path) -> io::Result<Option<&SourceRule>> {
        let file = resolve(&std::path::absolute(file)?)?;
        let matching = self.rules.iter().filter(|(root, _)| file.starts_with(root));
        let deciding = matching.max_by_key(|(root, rule)| (root.components().count(), rule.level));
        Ok(deciding.map(|(_, rule)| rule))
    }
}

fn rule_root(path: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    let plain = path.strip_suffix("/**").or_else(|| path.strip_suffix('/')).unwrap_or(path);
    if plain.contains(['*', '?', '[']) {
        return Err(format!("`{path}` has a wildcard inside: name a file, or a folder (with `/**` or not)"));
    }
    match plain.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home =
                home.ok_or_else(|| format!("`{path}` is under the home folder, and HOME is not set"))?;
            Ok(home.join(rest.trim_start_matches('/')))
        }
        _ if Path::new(plain).is_absolute() => Ok(PathBuf::from(plain)),
        _ => Err(format!("`{path}` is relative: begin it with `/` or `~/`")),
    }
}

/// Where a file lies by its name, and where that leads: the same place twice if no link is on the
/// way.
///
/// # Errors
/// The path cannot be resolved.
pub fn places_of(file: &Path) -> io::Result<[PathBuf; 2]> {
    let named = std::path::absolute(file)?;
    let led_to = resolve(&named)?;
    Ok([named, led_to])
}

/// Follows symlinks and `..` as the system would, also links whose target is gone; what does not
/// exist is taken by the letter.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut missing: Vec<OsString> = Vec::new();
    let mut existing = path.to_path_buf();
    let mut links = 0;
    loop {
        match existing.canonicalize() {
            Ok(mut resolved) => {
                for name in missing.into_iter().rev() {
                    if name != ".." {
                        resolved.push(name);
                    } else {
                        resolved.pop();
                    }
                }
                return Ok(resolved);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(last)) = (existing.parent(), existing.components().next_back())
                else {
                    return Err(error);
                };
                let parent = parent.to_path_buf();
                match existing.read_link() {
                    Ok(target) if links < MOST_LINKS => {
                        links += 1;
                        existing = parent.join(target);
                    }
                    Ok(_) => return Err(error),
                    Err(_) => {
                        missing.push(last.as_os_str().to_owned());
                        existing = parent;
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn rule(path: impl Into<String>, level: Level) -> SourceRule {
        SourceRule { path: path.into(), level }
    }

    fn level(rules: &SourceRules, file: &Path) -> Option<Level> {
        rules.level_of(file).unwrap().map(|rule| rule.level)
    }

    #[test]
    fn the_innermost_rule_decides_and_links_do_not_help() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        for folder in ["vault/keys", "work/repo", "open"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["vault/keys/a.csv", "work/b.csv", "work/repo/c.csv", "open/d.csv"] {
            fs::write(at(file), "x").unwrap();
        }
        let rules = [
            rule("~/vault/**", Level::P3),
            rule("~/work", Level::P2),
            rule(at("work/repo").display().to_string(), Level::P0),
        ];
        let rules = SourceRules::new(&rules, Some(home.path())).unwrap();
        assert_eq!(level(&rules, &at("vault/keys/a.csv")), Some(Level::P3));
        assert_eq!(level(&rules, &at("work/b.csv")), Some(Level::P2));
        assert_eq!(level(&rules, &at("work/repo/c.csv")), Some(Level::P0));
        assert_eq!(level(&rules, &at("open/d.csv")), None);
        assert_eq!(level(&rules, &at("open/../vault/keys/a.csv")), Some(Level::P3));
        assert_eq!(level(&rules, &at("vault/not-yet/../new.csv")), Some(Level::P3));
        assert_eq!(level(&rules, &at("vaults.csv")), None, "a name that only begins alike");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("vault"), at("open/link")).unwrap();
            std::os::unix::fs::symlink(at("vault/keys/a.csv"), at("open/innocent.csv")).unwrap();
            assert_eq!(level(&rules, &at("open/link/keys/a.csv")), Some(Level::P3));
            assert_eq!(level(&rules, &at("open/innocent.csv")), Some(Level::P3));
            assert_eq!(level(&rules, &at("open/link/../open/d.csv")), None, "as the system follows it");
            let named = places_of(&at("open/innocent.csv")).unwrap();
            assert!(named[0].ends_with("open/innocent.csv") && named[1].ends_with("vault/keys/a.csv"));
            // Gone, but the links are there still.
            fs::remove_file(at("vault/keys/a.csv")).unwrap();
            std::os::unix::fs::symlink("innocent.csv", at("open/again.csv")).unwrap();
            for link in ["open/innocent.csv", "open/again.csv", "open/link/keys/a.csv"] {
                assert_eq!(level(&rules, &at(link)), Some(Level::P3), "{link}");
            }
        }
    }

    #[test]
    fn a_rule_that_says_no_place_is_refused() {
        for (path, says) in [("vault", "relative"), ("~/a/*/b", "wildcard"), ("~x/b", "relative")] {
            let error = SourceRules::new(&[rule(path, Level::P3)], Some(Path::new("/"))).unwrap_err();
            assert!(error.contains(says) && error.contains(path), "{error}");
        }
        assert!(SourceRules::new(&[rule("~/a", Level::P3)], None).unwrap_err().contains("HOME"));
    }
}
