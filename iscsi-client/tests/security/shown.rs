//! All that can be shown of logins with CHAP, however they end, in the most verbose form that there is.

use std::{
    error::Error as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use iscsi_client::{
    bind::Bind,
    credentials::{CredentialFailure, CredentialProvider, CredentialRequest},
    discovery::Discovery,
    error::{Error, LoginError},
    initiator::{Initiator, InitiatorBuilder, SessionTarget},
    isid::SessionSlot,
    session::{Session, SessionOptions},
    url::TargetUrl,
};
use iscsi_proto::{
    Instant, Isid, Portal,
    login::{Authentication, ChapCredentials, Login, LoginConfig, Secret, TargetCredentials},
};
use iscsi_testkit::{
    canary::{self, OURS, THEIRS},
    sim::SimRuntime,
    target::{ChapConfig, ChapFault, LunConfig, SimTarget, TargetConfig},
};

const TARGET: &str = "iqn.2026-01.example:disk";
const PORTAL: &str = "10.0.0.1:3260";

/// The program `canary` wants to see this line.
const MARK: &str = "k02: all that can be shown was shown";

fn one_way() -> ChapCredentials {
    ChapCredentials::new("user", Secret::new(OURS.as_bytes())).unwrap()
}

fn mutual() -> ChapCredentials {
    let target = TargetCredentials::new(Secret::new(THEIRS.as_bytes())).unwrap();
    let target = target.with_name("shelf").unwrap();
    one_way().with_target(target).unwrap()
}

/// Shows it, and looks at it here too: this fails at once, and with the place.
#[track_caller]
fn show(what: &dyn std::fmt::Debug) {
    canary::show(what);
    judge(&format!("{what:?}\n{what:#?}"));
}

#[track_caller]
fn show_error(error: &(dyn std::error::Error + 'static)) {
    canary::show_error(error);
    judge(&format!("{error}\n{error:#}\n{error:?}\n{error:#?}"));
}

#[track_caller]
fn judge(text: &str) {
    let leaks = canary::leaks(&canary::ALL.map(str::as_bytes), text);
    // Not the text, which would say it once more.
    assert!(leaks.is_empty(), "{}", leaks[0]);
    assert!(!text.contains("CHAP_R"), "the raw text of a login is shown");
}

/// Every public type that holds a secret, or something that does.
#[test]
fn k01_no_type_that_holds_a_secret_shows_it() {
    let secret = Secret::new(OURS.as_bytes());
    show(&secret);
    show(&secret.clone());
    assert_eq!(format!("{secret:?}"), "Secret(redacted)");
    let target = TargetCredentials::new(Secret::new(THEIRS.as_bytes())).unwrap();
    show(&target);
    show(&one_way());
    show(&mutual());
    let authentication = Authentication::Chap(mutual());
    show(&authentication);

    let name = || "iqn.2026-01.example:host".parse().unwrap();
    let portal: Portal = PORTAL.parse().unwrap();
    let disk = || TARGET.parse().unwrap();
    let config = LoginConfig::normal(name(), disk(), Isid([0x80, 0, 0, 0, 0, 1]))
        .with_authentication(authentication.clone());
    show(&config);
    let login = Login::new(config, Instant::ZERO, &mut |bytes| bytes.fill(7));
    show(&login);

    let to = SessionTarget::new(disk(), portal.clone()).with_authentication(authentication.clone());
    show(&to);
    show(&Discovery::new(portal.clone()).with_authentication(authentication.clone()));
    let mut options = SessionOptions::default();
    options.credentials = Some(Arc::new(Keeper(mutual())));
    show(&options);
    let sim = SimRuntime::new(1);
    let builder = Initiator::builder(name(), Arc::new(sim.handle()))
        .credentials(mutual())
        .discovery_authentication(authentication)
        .options(options);
    show(&builder);
    show(&builder.build());
    let config = TargetConfig::new(TARGET)
        .with_portal("10.0.0.1:3260".parse().unwrap(), 1)
        .with_chap(chap(ChapFault::None));
    show(&config);
    show(&SimTarget::start(&sim.handle(), config).unwrap());

    for text in [
        format!("iscsi://user%{OURS}@10.0.0.1/{TARGET}/0"),
        format!(
            "iscsi://user%{OURS}@10.0.0.1/{TARGET}/0?target_user=shelf&target_password={THEIRS}"
        ),
    ] {
        let url: TargetUrl = text.parse().unwrap();
        show(&url);
        show(&url.authentication().unwrap());
        show(&url.session_target(SessionOptions::default()).unwrap());
        println!("{url}");
        judge(&url.to_string());
    }
}

/// A URL with a secret in it is wrong in one place or the other.
#[test]
fn k02_what_is_wrong_with_a_url_is_said_without_its_secret() {
    for text in [
        format!("iscsi://user%{OURS}@10.0.0.1/disk/0"),
        format!("iscsi://user%{OURS}/@10.0.0.1/{TARGET}/0"),
        format!("iscsi://user%{OURS}@/{TARGET}/0"),
        format!("iscsi://user%{OURS}@10.0.0.1/{TARGET}/x"),
        format!("iscsi://user%{OURS}@10.0.0.1/{TARGET}/0?nonsense={THEIRS}"),
        format!("iscsi://user%{OURS}@10.0.0.1:{OURS}/{TARGET}/0"),
        format!(
            "iscsi://user%{OURS}@10.0.0.1/{TARGET}/0?target_password={THEIRS}&target_password={THEIRS}"
        ),
        format!("iscsi:/user%{OURS}@10.0.0.1/{TARGET}/0"),
        format!("http://user%{OURS}@10.0.0.1/{TARGET}/0"),
    ] {
        let parsed = text.parse::<TargetUrl>();
        let error = match parsed {
            Err(error) => error,
            Ok(url) => url.authentication().map(|_| ()).unwrap_err(),
        };
        show_error(&error);
    }
    let same = TargetCredentials::new(Secret::new(OURS.as_bytes())).unwrap();
    show_error(&one_way().with_target(same).unwrap_err());
    let short = Secret::new(&OURS.as_bytes()[..11]);
    show_error(&ChapCredentials::new("user", short).unwrap_err());
    let error = ChapCredentials::new("us\ner", Secret::new(OURS.as_bytes()));
    show_error(&error.unwrap_err());
}

#[derive(Debug)]
struct Keeper(ChapCredentials);

#[async_trait::async_trait]
impl CredentialProvider for Keeper {
    async fn credentials(
        &self,
        request: &CredentialRequest,
    ) -> Result<Authentication, CredentialFailure> {
        show(request);
        Ok(Authentication::Chap(self.0.clone()))
    }
}

fn chap(fault: ChapFault) -> ChapConfig {
    let mut chap = ChapConfig::new("user", OURS.as_bytes()).with_mutual("shelf", THEIRS.as_bytes());
    chap.fault = fault;
    chap
}

/// A world whose target wants CHAP.
struct World {
    sim: SimRuntime,
    target: SimTarget,
}

impl World {
    fn new(chap: ChapConfig) -> Self {
        let sim = SimRuntime::new(7);
        let mut config = TargetConfig::new(TARGET)
            .with_portal(PORTAL.parse().unwrap(), 1)
            .with_lun(LunConfig::new(0, 1 << 20))
            .with_chap(chap);
        config.unit_attention = false;
        let target = SimTarget::start(&sim.handle(), config).unwrap();
        Self { sim, target }
    }

    fn builder(&self) -> InitiatorBuilder {
        let name = "iqn.2026-01.example:host".parse().unwrap();
        Initiator::builder(name, Arc::new(self.sim.handle()))
    }

    fn connect(&self, initiator: &Initiator, number: u16) -> Result<Session, LoginError> {
        let slot = SessionSlot {
            number,
            ..SessionSlot::default()
        };
        let portal = PORTAL.parse().unwrap();
        let to = SessionTarget::new(TARGET.parse().unwrap(), portal).with_slot(slot);
        self.sim.block_on(initiator.connect_spawned(&to))
    }
}

/// And what it becomes for a command, and for whoever unwraps it.
#[track_caller]
fn show_failure(error: LoginError) {
    show_error(&error);
    println!("{}", error.advice());
    judge(error.advice());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        panic!("a login: {error:?}");
    }));
    let panic = panic.unwrap_err();
    let said = panic.downcast_ref::<String>().expect("a message");
    println!("{said}");
    judge(said);
    let error = Error::from(error);
    show_error(&error);
    show(&error.source().map(ToString::to_string));
}

fn show_session(session: &Session) {
    show(session);
    show(&session.login());
    show(&session.status());
    show(&session.stats());
    show(&session.events(0));
    show(session.options());
}

/// Logins that come to an end in every way that CHAP has, with all that the library says of them; the last test that
/// is searched by the program as well, which wants to see its mark.
#[test]
fn k02_nothing_that_is_shown_of_a_login_has_a_secret() {
    let wrong = |name: &str| ChapCredentials::new(name, Secret::new(THEIRS.as_bytes())).unwrap();
    for (fault, credentials) in [
        (ChapFault::None, one_way()),
        (ChapFault::None, mutual()),
        (ChapFault::None, wrong("user")),
        (ChapFault::None, wrong("somebody")),
        (ChapFault::RefusesLists, mutual()),
        (ChapFault::SkipsProof, mutual()),
        (ChapFault::WrongProof, mutual()),
        (ChapFault::Reflects, mutual()),
    ] {
        let world = World::new(chap(fault));
        let initiator = world.builder().credentials(credentials.clone()).build();
        for number in 0..2 {
            match world.connect(&initiator, number) {
                Ok(session) => {
                    show_session(&session);
                    show(&initiator.sessions());
                    world.sim.block_on(session.close());
                    show_session(&session);
                }
                Err(error) => show_failure(error),
            }
        }
        show(&initiator);
        let portal = PORTAL.parse().unwrap();
        match world.sim.block_on(initiator.discover(&portal, &Bind::Any)) {
            Ok(found) => show(&found),
            Err(error) => show_failure(error),
        }
        show(&world.target.core().violations());
        show(&world.target.core().login_attempts());
        // Whoever gets credentials from elsewhere.
        let mut options = SessionOptions::default();
        options.credentials = Some(Arc::new(Keeper(credentials)));
        let initiator = world.builder().options(options).build();
        match world.connect(&initiator, 9) {
            Ok(session) => show_session(&session),
            Err(error) => show_failure(error),
        }
    }
    for length in [7, 1025] {
        let mut chap = chap(ChapFault::None);
        chap.challenge_length = Some(length);
        let world = World::new(chap);
        let initiator = world.builder().credentials(mutual()).build();
        show_failure(world.connect(&initiator, 0).unwrap_err());
    }
    // Asked for, and there are none.
    let world = World::new(chap(ChapFault::None));
    show_failure(world.connect(&world.builder().build(), 0).unwrap_err());
    println!("{MARK}");
}

/// That the search finds what is said: here, and in the output if ISCSI_CANARY_LEAK is set.
#[test]
fn k02_a_secret_that_is_said_on_purpose() {
    let said = format!("{:02x?}", OURS.as_bytes());
    let leaks = canary::leaks(&canary::ALL.map(str::as_bytes), &said);
    assert!(!leaks.is_empty());
    assert!(leaks.iter().all(|leak| canary::ALL[leak.secret] == OURS));
    if std::env::var_os("ISCSI_CANARY_LEAK").is_some() {
        println!("{MARK}, and too much: {said}");
    }
}
