//! Settings that change while the broker runs: 25 and 26.

use std::sync::Arc;

use super::*;
use crate::letter::SettingsRefused;
use crate::protocol::code::ResponseCode;

/// Asks for a change; the opaque of the request and the ticket that the control plane is given.
fn ask(world: &mut World, connection: ConnectionId, text: &str) -> (i32, u64) {
    let opaque = world.ask(connection, RequestCode::UpdateBrokerConfig, &[], text.as_bytes());
    world.run();
    match world.controls.last() {
        Some(ToControl::ChangeSettings { ticket, text: told, .. }) if told == text => (opaque, *ticket),
        other => panic!("{other:?}"),
    }
}

fn settings_of(generation: u64, text: &str) -> ToShard {
    let (config, _) = NodeConfig::defaults(NodeKind::Broker).changed(text).unwrap();
    ToShard::Settings { ticket: 1 << 63, generation, config: Arc::new(config) }
}

fn tell(world: &mut World, letter: ToShard) {
    world.broker.handle_control(world.now, letter, &mut world.out);
    world.run();
}

#[test]
fn a_change_is_in_force_at_once_and_answered_when_all_have_it() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let text = "maxMessageSize=3\nbrokerPermission=4\n";
    let (opaque, ticket) = ask(&mut world, c, text);
    assert_eq!(world.send(c, "T", 0, "", "long").code, 0, "nothing has changed yet");
    let version = world.broker.topics.version;
    tell(&mut world, settings_of(1, text));
    let Some(ToControl::SettingsTaken { topics: Some(topics), .. }) = world.controls.last() else {
        panic!("{:?}", world.controls.last())
    };
    assert_ne!(*topics, version, "name servers take a change of topics with a new version only");
    assert_eq!(world.send(c, "T", 0, "", "long").code, 13);
    let shown = world.call(c, RequestCode::GetBrokerConfig, &[], b"");
    assert!(shown.text().contains("\nmaxMessageSize=3\n"), "{}", shown.text());
    assert!(world.answer(c, opaque).is_none(), "a sibling may not have it");
    tell(&mut world, ToShard::SettingsAnswer { ticket, result: Ok(None) });
    assert_eq!(world.answer(c, opaque).unwrap().code, 0);

    tell(&mut world, settings_of(1, "maxMessageSize=4000"));
    assert_eq!(world.send(c, "T", 0, "", "long").code, 13, "a letter that comes late changes nothing");
    tell(&mut world, settings_of(2, "maxMessageSize=4000"));
    assert_eq!(world.send(c, "T", 0, "", "long").code, 0);
}

#[test]
fn a_refusal_and_a_silent_control_plane_are_told() {
    let mut world = World::new();
    let c = world.connect();
    let (opaque, ticket) = ask(&mut world, c, "listenPort=1");
    let refused = SettingsRefused { code: ResponseCode::NoPermission, remark: "not now".to_owned() };
    tell(&mut world, ToShard::SettingsAnswer { ticket, result: Err(refused) });
    let answer = world.answer(c, opaque).unwrap();
    assert_eq!((answer.code, answer.remark.as_str()), (16, "not now"));
    let (opaque, ticket) = ask(&mut world, c, "traceOn=false");
    world.wait_ms(4_000);
    assert_eq!(world.answer(c, opaque).unwrap().code, 1);
    tell(&mut world, ToShard::SettingsAnswer { ticket, result: Ok(None) });
    assert!(world.answer(c, opaque).is_none(), "answered once");
    let bad = world.call(c, RequestCode::UpdateBrokerConfig, &[], &[0xFF, 0xFE]);
    assert_eq!(bad.code, 29);
    for _ in 0..crate::limits::SETTINGS_CHANGES_MAX {
        ask(&mut world, c, "traceOn=true");
    }
    assert_eq!(world.call(c, RequestCode::UpdateBrokerConfig, &[], b"traceOn=true").code, 2);
}
