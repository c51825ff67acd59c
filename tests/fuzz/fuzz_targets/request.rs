//! Every typed request, from any header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_protocol::code::RequestCode;
use ringmq_protocol::frame::Encoding;
use ringmq_protocol::header::Header;
use ringmq_protocol::request::{
    BrokerHeartbeatRequest, BrokerIdentity, BrokerNameRequest, BrokerStatsRequest, KvRequest, RegisterBrokerRequest,
    Request, RouteRequest,
};

fuzz_target!(|input: (bool, &[u8], &[u8])| {
    let (binary, header, body) = input;
    let encoding = if binary { Encoding::Binary } else { Encoding::Json };
    let Ok(header) = Header::decode(encoding, header) else { return };
    for code in RequestCode::ALL {
        let _ = Request::decode(*code, &header, body);
    }
    let _ = (BrokerStatsRequest::parse(&header), RouteRequest::parse(&header));
    let _ = (RegisterBrokerRequest::parse(&header, body), BrokerIdentity::parse_with_version(&header, body));
    let _ = (BrokerHeartbeatRequest::parse(&header), BrokerNameRequest::parse(&header), KvRequest::parse_put(&header));
});
