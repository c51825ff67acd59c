//! A consumer that says always the same of itself, and remembers what it was asked.
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use harness::{Client, Frame, Record};

const NOTIFY_CONSUMER_IDS_CHANGED: i32 = 40;
const GET_CONSUMER_RUNNING_INFO: i32 = 307;
const CONSUME_MESSAGE_DIRECTLY: i32 = 309;
const RESPONSE: i32 = 1;
/// A quiet member says that it is there, as clients do.
const BEAT: Duration = Duration::from_secs(20);

/// How a member behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Answers,
    /// Reads what it is asked and says nothing.
    Silent,
}

/// One consumer, on a connection and a thread of its own, which end when the broker closes the connection or this is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    asked: Arc<Mutex<Vec<String>>>,
    socket: TcpStream,
}

impl Member {
    /// Joins the group.
    pub(crate) fn start(broker: &str, client_id: &str, group: &str, topic: &str, manner: Manner) -> io::Result<Self> {
        let mut client = Client::connect(broker)?;
        client.heartbeat(client_id, group, topic)?;
        client.set_timeout(BEAT)?;
        let socket = client.socket().try_clone()?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        let (client_id, group, topic) = (client_id.to_owned(), group.to_owned(), topic.to_owned());
        thread::spawn(move || {
            loop {
                match client.read_one() {
                    Ok(()) => {}
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                        if client.heartbeat(&client_id, &group, &topic).is_err() {
                            return;
                        }
                    }
                    Err(_) => return,
                }
                for request in std::mem::take(&mut client.from_server) {
                    if request.code == NOTIFY_CONSUMER_IDS_CHANGED {
                        continue;
                    }
                    let mut asked = kept.lock().expect("nobody panics with it");
                    asked.push(describe(&request));
                    if manner == Manner::Answers
                        && let Some(answer) = answer(&request, &topic)
                        && client.socket().write_all(&answer.encode()).is_err()
                    {
                        return;
                    }
                }
            }
        });
        Ok(Self { asked, socket })
    }

    /// What it was asked since this was asked last.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("nobody panics with it"))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // The thread ends with the connection.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// The request in one line. A message in it is told by what it says; where it lies and when it came differs.
fn describe(request: &Frame) -> String {
    let Frame { code, flag, language, version, ext, body, .. } = request;
    let body = match Record::decode_all(body) {
        Ok(records) if *code == CONSUME_MESSAGE_DIRECTLY => {
            let told = records.iter().map(|record| {
                let Record { topic, queue_id, queue_offset, .. } = record;
                format!("{topic} {queue_id} {queue_offset} {}", String::from_utf8_lossy(&record.body))
            });
            told.collect::<Vec<_>>().join(", ")
        }
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    format!("code {code} flag {flag} {language} {version} {ext:?} {body}")
}

fn answer(request: &Frame, topic: &str) -> Option<Frame> {
    let body = match request.code {
        GET_CONSUMER_RUNNING_INFO => {
            running_info(topic, request.ext.get("jstackEnable").is_some_and(|enabled| enabled == "true"))
        }
        CONSUME_MESSAGE_DIRECTLY => {
            r#"{"autoCommit":true,"consumeResult":"CR_LATER","order":false,"remark":"not now","spentTimeMills":7}"#
                .to_owned()
        }
        _ => return None,
    };
    Some(Frame { opaque: request.opaque, flag: RESPONSE, ..Frame::request(0) }.body(body))
}

/// As a Java client says it.
fn running_info(topic: &str, with_stack: bool) -> String {
    let stack = if with_stack { r#","jstack":"main TID: 1 STATE: RUNNABLE""# } else { "" };
    let place = r#"{"cachedMsgCount":1,"cachedMsgMaxOffset":3,"cachedMsgMinOffset":2,"cachedMsgSizeInMiB":0,"commitOffset":2,"droped":false,"lastConsumeTimestamp":1700000000000,"lastLockTimestamp":1700000000000,"lastPullTimestamp":1700000000000,"locked":false,"transactionMsgCount":0,"transactionMsgMaxOffset":0,"transactionMsgMinOffset":0,"tryUnlockTimes":0}"#;
    format!(
        r#"{{"mqPopTable":{{}},"mqTable":{{{{"brokerName":"broker-a","queueId":0,"topic":"{topic}"}}:{place}}},"properties":{{"PROP_CLIENT_VERSION":"V5_3_3","PROP_CONSUMEORDERLY":"false","PROP_CONSUMER_START_TIMESTAMP":"1700000000000","PROP_CONSUME_TYPE":"CONSUME_PASSIVELY","PROP_NAMESERVER_ADDR":"somewhere","PROP_THREADPOOL_CORE_SIZE":"20"}},"statusTable":{{"{topic}":{{"consumeFailedMsgs":0,"consumeFailedTPS":0.0,"consumeOKTPS":1.5,"consumeRT":2.5,"pullRT":3.5,"pullTPS":4.5}}}},"subscriptionSet":[{{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1700000000000,"tagsSet":[],"topic":"{topic}"}}],"userConsumerInfo":{{}}{stack}}}"#
    )
}
