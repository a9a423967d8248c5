//! iscsi-ls: a discovery session, then REPORT LUNS, INQUIRY and READ CAPACITY of every unit.

use crate::{
    support::{TARGET, config, judge, serve},
    tool::Tool,
};

#[test]
fn iscsi_ls_finds_every_portal() {
    let Some(ls) = Tool::libiscsi("iscsi-ls") else {
        return;
    };
    let target = serve(config());
    let (one, two) = (target.portal(0), target.portal(1));
    let expected = format!("Target:{TARGET} Portal:{one},1\nTarget:{TARGET} Portal:{two},1\n");
    let mut found: Vec<_> = lines(&ls.ok(&[&format!("iscsi://{one}")]));
    found.sort();
    let mut expected = lines(&expected);
    expected.sort();
    assert_eq!(found, expected);
    judge(&target);
    assert_eq!(target.core().sessions(), 0, "it logs out");
}

#[test]
fn iscsi_ls_shows_the_luns_behind_a_portal() {
    let Some(ls) = Tool::libiscsi("iscsi-ls") else {
        return;
    };
    let target = serve(config());
    let said = ls.ok(&["-s", &format!("iscsi://{}", target.portal(0))]);
    // It counts whole megabytes of what the last block's number says.
    let luns = [
        "Lun:0    Type:DIRECT_ACCESS (Size:255M)",
        "Lun:1    Type:DIRECT_ACCESS (Size:63M)",
    ];
    for lun in luns {
        let times = said.lines().filter(|line| *line == lun).count();
        assert_eq!(times, 2, "{lun}, once per portal: {said}");
    }
    let logins = |portal| target.core().counters(portal).logins;
    assert_eq!(
        (logins(0), logins(1)),
        (2, 1),
        "one of them is for discovery"
    );
    judge(&target);
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
