//! What `docker run` was asked for: its options apart from the image and the
//! command, each held against `options.rs`. Pure.
//!
//! Options are read as the client reads them (spf13/pflag, not interspersed):
//! `--name value`, `--name=value`, `-n value`, `-nvalue`, several switches in
//! one word, and everything from the first word that is none is the image and
//! its command.

use std::path::PathBuf;

use super::options::{self, Known, Verdict};
use super::refusal::{Reason, Refusal};

/// A container that somebody wants to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The options, as they were written.
    pub(super) options: Vec<String>,
    /// The image, the command and its arguments.
    pub(super) image: Vec<String>,
    /// Whether it runs in the background.
    pub(super) is_detached: bool,
    /// Paths of the host's that it is to see; not looked at yet.
    pub(super) binds: Vec<Bind>,
    /// Volumes of the engine's that it is to see.
    pub(super) volumes: Vec<String>,
}

/// A path of the host's that a container is to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bind {
    /// The argument, as it was written.
    pub(super) argument: String,
    /// The path; may be relative.
    pub(super) source: PathBuf,
    /// Whether the container may write there.
    pub(super) is_writable: bool,
}

impl Request {
    /// Reads the arguments of `docker run`.
    ///
    /// # Errors
    /// The first argument that would break the wall, or is not understood.
    pub fn parse(arguments: &[String]) -> Result<Self, Refusal> {
        let mut request =
            Self { options: Vec::new(), image: Vec::new(), is_detached: false, binds: Vec::new(), volumes: Vec::new() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                break;
            }
            if word == "-" || !word.starts_with('-') {
                request.image.push(word.clone());
                break;
            }
            request.options.push(word.clone());
            let mut next = || {
                let value = words.next()?;
                request.options.push(value.clone());
                Some(value.clone())
            };
            let given = match word.strip_prefix("--") {
                Some(long) => vec![of_long(word, long, &mut next)?],
                None => of_letters(word, word.trim_start_matches('-'), &mut next)?,
            };
            for option in given {
                request.take(&option)?;
            }
        }
        request.image.extend(words.cloned());
        if request.image.is_empty() {
            return Err(Refusal::NoImage);
        }
        Ok(request)
    }

    fn take(&mut self, option: &Given) -> Result<(), Refusal> {
        let argument = || option.argument.clone();
        let refused = |reason| Err(Refusal::Breaks { argument: argument(), reason });
        let value = option.value.as_str();
        if option.known.is_switch {
            let is_on = truth(value)
                .ok_or_else(|| Refusal::NeitherTrueNorFalse { option: argument(), value: value.to_owned() })?;
            return match option.known.verdict {
                Verdict::Detach => {
                    self.is_detached = is_on;
                    Ok(())
                }
                Verdict::Refused(reason) if is_on => refused(reason()),
                _ => Ok(()),
            };
        }
        match option.known.verdict {
            Verdict::Harmless | Verdict::Detach => Ok(()),
            Verdict::Refused(reason) => refused(reason()),
            Verdict::Judged(judge) => judge(value).map_or(Ok(()), refused),
            Verdict::Volume => {
                self.volume(&option.argument, value);
                Ok(())
            }
            Verdict::Mount => self.mount(&option.argument, value).map_or(Ok(()), refused),
        }
    }

    /// `SOURCE:TARGET[:OPTIONS]`, or a target alone.
    fn volume(&mut self, argument: &str, value: &str) {
        let Some((source, rest)) = value.split_once(':') else { return };
        if source.starts_with(['/', '.', '~']) {
            let options = rest.split_once(':').map_or("", |(_, options)| options);
            let is_writable = !options.split(',').any(|option| matches!(option, "ro" | "readonly"));
            self.binds.push(Bind { argument: argument.to_owned(), source: source.into(), is_writable });
        } else {
            self.volumes.push(source.to_owned());
        }
    }

    /// `type=bind,source=/a,target=/b,readonly`. Why not, if not.
    fn mount(&mut self, argument: &str, value: &str) -> Option<Reason> {
        // The client reads a line of CSV; what only that can express is not
        // read here.
        if value.contains('"') {
            return Some(Reason::Mount);
        }
        let (mut kind, mut source, mut is_writable) = ("volume".to_owned(), None, true);
        for field in value.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, "true"));
            match key.to_ascii_lowercase().as_str() {
                "type" => kind = value.to_ascii_lowercase(),
                "source" | "src" => source = Some(value.to_owned()),
                "readonly" | "ro" => match truth(value) {
                    Some(is_read_only) => is_writable = !is_read_only,
                    None => return Some(Reason::Mount),
                },
                "volume-driver" | "volume-opt" => return Some(Reason::Volume),
                _ => {}
            }
        }
        match kind.as_str() {
            "bind" => {
                let Some(source) = source else { return Some(Reason::Mount) };
                self.binds.push(Bind { argument: argument.to_owned(), source: source.into(), is_writable });
                None
            }
            "volume" => {
                self.volumes.extend(source);
                None
            }
            "tmpfs" => None,
            _ => Some(Reason::Mount),
        }
    }
}

/// An option as it was given.
struct Given {
    known: Known,
    /// As it was written, for messages.
    argument: String,
    /// Of a switch: `true` unless it says otherwise.
    value: String,
}

fn of_long(word: &str, long: &str, next: &mut impl FnMut() -> Option<String>) -> Result<Given, Refusal> {
    let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value.to_owned())));
    let known = options::long(name).ok_or_else(|| Refusal::Unknown(format!("--{name}")))?;
    given(known, word, value, next)
}

fn of_letters(word: &str, letters: &str, next: &mut impl FnMut() -> Option<String>) -> Result<Vec<Given>, Refusal> {
    let mut found = Vec::new();
    let mut rest = letters;
    while let Some(letter) = rest.chars().next() {
        rest = rest.strip_prefix(letter).unwrap_or_default();
        let known = options::short(letter).ok_or_else(|| Refusal::Unknown(format!("-{letter}")))?;
        let assigned = rest.strip_prefix('=').filter(|value| !value.is_empty() || known.is_switch);
        if let Some(value) = assigned {
            found.push(given(known, word, Some(value.to_owned()), next)?);
            break;
        }
        if known.is_switch {
            found.push(given(known, word, None, next)?);
            continue;
        }
        let value = (!rest.is_empty()).then(|| rest.to_owned());
        found.push(given(known, word, value, next)?);
        break;
    }
    Ok(found)
}

fn given(
    known: Known,
    word: &str,
    value: Option<String>,
    next: &mut impl FnMut() -> Option<String>,
) -> Result<Given, Refusal> {
    if known.is_switch {
        let value = value.unwrap_or_else(|| "true".to_owned());
        return Ok(Given { known, argument: word.to_owned(), value });
    }
    if let Some(value) = value {
        return Ok(Given { known, argument: word.to_owned(), value });
    }
    let value = next().ok_or_else(|| Refusal::NoValue(word.to_owned()))?;
    Ok(Given { known, argument: format!("{word} {value}"), value })
}

/// As Go's strconv.ParseBool.
fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, Refusal> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Request::parse(&words)
    }

    fn refused(line: &str) -> Refusal {
        parse(line).expect_err(line)
    }

    #[test]
    fn what_follows_the_image_belongs_to_the_command() {
        let request = parse("-it --name one -e A=b -v /src:/src:ro debian sh -c --privileged").unwrap();
        assert_eq!(request.options.join(" "), "-it --name one -e A=b -v /src:/src:ro");
        assert_eq!(request.image, ["debian", "sh", "-c", "--privileged"]);
        assert!(!request.is_detached);
        let request = parse("--rm -- debian --privileged").unwrap();
        assert_eq!(request.image, ["debian", "--privileged"]);
    }

    #[test]
    fn an_option_that_breaks_the_wall_is_found_however_it_is_written() {
        let breaking = [
            "--privileged x",
            "--privileged=true x",
            "-it --privileged x",
            "--network host x",
            "--network=host x",
            "--net host x",
            "--ip 10.0.0.1 x",
            "--dns 192.0.2.53 x",
            "--dns=192.0.2.53 x",
            "-p 80:80 x",
            "-p80:80 x",
            "-itp 80:80 x",
            "-itp80:80 x",
            "-P x",
            "-dP x",
            "--cap-add NET_ADMIN x",
            "--cap-add=all x",
            "--cap-drop ALL --cap-add CAP_SYS_ADMIN x",
            "--security-opt seccomp=unconfined x",
            "--security-opt systempaths=unconfined x",
            "--pid host x",
            "--pid=container:other x",
            "--ipc host x",
            "--ipc container:other x",
            "--userns host x",
            "--uts host x",
            "--cgroupns host x",
            "--device /dev/net/tun x",
            "--device-cgroup-rule c-1:*-rwm x",
            "--volumes-from other x",
            "--volume-driver nfs x",
            "--mount type=volume,source=a,target=/a,volume-opt=type=nfs x",
            "--mount type=volume,source=a,target=/a,VOLUME-DRIVER=x x",
            "--mount type=npipe,source=a,target=/a x",
            "--mount type=bind,source=/a,target=/a,readonly=perhaps x",
            "--mount type=bind,\"source=/a\",target=/a x",
            "--link other x",
            "--restart always x",
            "--log-driver syslog x",
            "--label cedarwall.agent=other x",
            "-l cedarwall.run=other x",
            "-lcedarwall.run=other x",
            "--label-file labels x",
            "--use-api-socket x",
            "--mac-address 02:00:00:00:00:01 x",
        ];
        for line in breaking {
            assert!(matches!(refused(line), Refusal::Breaks { .. }), "{line}");
        }
    }

    #[test]
    fn an_option_that_is_not_known_is_refused_as_its_value_cannot_be_told() {
        assert_eq!(refused("--from-tomorrow debian"), Refusal::Unknown("--from-tomorrow".to_owned()));
        assert_eq!(refused("-itZ debian"), Refusal::Unknown("-Z".to_owned()));
        // The client takes no abbreviations.
        assert_eq!(refused("--privil debian"), Refusal::Unknown("--privil".to_owned()));
        assert_eq!(refused("--name"), Refusal::NoValue("--name".to_owned()));
        assert_eq!(refused("-it --rm"), Refusal::NoImage);
        assert_eq!(refused(""), Refusal::NoImage);
    }

    #[test]
    fn a_switch_that_is_off_is_off() {
        assert!(parse("--privileged=false debian").is_ok());
        assert!(parse("-d debian").unwrap().is_detached);
        assert!(parse("-itd debian").unwrap().is_detached);
        assert!(!parse("-d --detach=false debian").unwrap().is_detached);
        assert!(parse("-d=true debian").unwrap().is_detached);
        assert!(matches!(refused("--detach=perhaps debian"), Refusal::NeitherTrueNorFalse { .. }));
    }

    #[test]
    fn every_path_of_the_host_is_told() {
        let request = parse(
            "-v /a:/b -v ./c:/d:ro,z --mount type=bind,src=/e,dst=/f,readonly --mount type=bind,source=/g,target=/h,ro=0 \
             -v named:/i -v /j --mount source=other,target=/k --mount type=tmpfs,target=/l debian",
        )
        .unwrap();
        let binds: Vec<_> =
            request.binds.iter().map(|bind| (bind.source.to_str().unwrap(), bind.is_writable)).collect();
        assert_eq!(binds, [("/a", true), ("./c", false), ("/e", false), ("/g", true)]);
        assert_eq!(request.volumes, ["named", "other"]);
    }
}
