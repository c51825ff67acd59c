//! Small settings that tools keep at the name server, by namespace and key; among them the order of ordered topics.

use std::collections::BTreeMap;

use super::{Answer, Answered, NameServer, NameServerEffect};
use crate::limits::{KV_BYTES_MAX, KV_ENTRIES_MAX, KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX};
use crate::protocol::body::key_values;
use crate::protocol::code::ResponseCode;
use crate::protocol::header::Header;
use crate::protocol::json::{self, JsonError, JsonForm, Key, Value, Writer};
use crate::protocol::request::{KvRequest, NamespaceRequest};

/// Key: a topic, value: `broker-a:4;broker-b:4`.
pub(super) const ORDER_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

/// Values by namespace and key. Its file is RocketMQ's `kvConfig.json`: `{"configTable":{"NAMESPACE":{"KEY":"VALUE"}}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvConfig {
    entries: BTreeMap<String, BTreeMap<String, String>>,
    /// How many there are, and what names and values add up to; a namespace counts with each of its keys.
    count: usize,
    bytes: usize,
}

impl KvConfig {
    /// Reads the file, however much it has: what was written must be read again.
    ///
    /// # Errors
    /// Whatever makes it no JSON. What is no text in it is left out.
    pub fn decode(file: &[u8]) -> Result<KvConfig, JsonError> {
        let mut kv = KvConfig::default();
        let root = json::parse(file, file.len())?;
        let Value::Object(root) = root else { return Ok(kv) };
        let Some(Value::Object(table)) = root.get("configTable") else { return Ok(kv) };
        for (namespace, of) in &table.0 {
            let (Key::Text(namespace), Value::Object(of)) = (namespace, of) else { continue };
            for (key, value) in &of.0 {
                if let (Key::Text(key), Value::Text(value)) = (key, value) {
                    kv.insert(namespace, key, value);
                }
            }
        }
        Ok(kv)
    }

    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        writer.object(|root| {
            root.key("configTable").object(|table| {
                for (namespace, of) in &self.entries {
                    table.key(namespace).object(|entries| {
                        for (key, value) in of {
                            entries.key(key).text(value);
                        }
                    });
                }
            });
        });
        writer.finish()
    }

    /// One value.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.entries.get(namespace)?.get(key).map(String::as_str)
    }

    /// All of a namespace, if there ever was one.
    #[must_use]
    pub(crate) fn namespace(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.entries.get(namespace)
    }

    pub(super) fn insert(&mut self, namespace: &str, key: &str, value: &str) {
        self.remove(namespace, key);
        self.entries.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self.count += 1;
        self.bytes += namespace.len() + key.len() + value.len();
    }

    /// Whether it was there. A namespace that had a key stays, without one if need be.
    fn remove(&mut self, namespace: &str, key: &str) -> bool {
        let removed = self.entries.get_mut(namespace).and_then(|of| of.remove(key));
        if let Some(value) = &removed {
            self.count -= 1;
            self.bytes -= namespace.len() + key.len() + value.len();
        }
        removed.is_some()
    }

    /// Why an entry is not taken, if it is not.
    pub(super) fn refusal(&self, namespace: &str, key: &str, value: &str) -> Option<String> {
        let known = self.get(namespace, key);
        if namespace.len() > KV_KEY_BYTES_MAX || key.len() > KV_KEY_BYTES_MAX || value.len() > KV_VALUE_BYTES_MAX {
            return Some(format!(
                "a namespace and a key may have {KV_KEY_BYTES_MAX} bytes, a value {KV_VALUE_BYTES_MAX}"
            ));
        }
        let names = namespace.len() + key.len();
        let bytes = self.bytes - known.map_or(0, |old| names + old.len()) + names + value.len();
        // Whatever the file had at the start, what makes it smaller is taken.
        let grows = known.is_none_or(|old| value.len() > old.len());
        let is_full = (known.is_none() && self.count >= KV_ENTRIES_MAX) || (grows && bytes > KV_BYTES_MAX);
        is_full.then(|| format!("the name server keeps no more than {KV_ENTRIES_MAX} entries and {KV_BYTES_MAX} bytes"))
    }
}

impl NameServer {
    /// 100.
    pub(super) fn put_kv(&mut self, header: &Header<'_>) -> Answered {
        let KvRequest { namespace, key, value } = KvRequest::parse(header)?;
        let value = value.unwrap_or_default();
        if let Some(remark) = self.kv.refusal(namespace, key, value) {
            return Err(Answer::error(ResponseCode::SystemError, remark));
        }
        self.kv.insert(namespace, key, value);
        Ok(self.persist_kv())
    }

    /// 101.
    pub(super) fn get_kv(&self, header: &Header<'_>) -> Answered {
        let KvRequest { namespace, key, .. } = KvRequest::parse(header)?;
        match self.kv.get(namespace, key) {
            Some(value) => Ok(Answer::fields(vec![("value", value.to_owned())])),
            None => {
                let remark = format!("No config item, Namespace: {namespace} Key: {key}");
                Err(Answer::error(ResponseCode::QueryNotFound, remark))
            }
        }
    }

    /// 102.
    pub(super) fn delete_kv(&mut self, header: &Header<'_>) -> Answered {
        let KvRequest { namespace, key, .. } = KvRequest::parse(header)?;
        Ok(if self.kv.remove(namespace, key) { self.persist_kv() } else { Answer::success() })
    }

    /// 219.
    pub(super) fn kv_of_namespace(&self, header: &Header<'_>) -> Answered {
        let namespace = NamespaceRequest::parse(header)?.name;
        match self.kv.namespace(namespace) {
            Some(of) => Ok(Answer::body(key_values(of.iter().map(|(key, value)| (key.as_str(), value.as_str()))))),
            None => Err(Answer::error(ResponseCode::QueryNotFound, format!("No config item, Namespace: {namespace}"))),
        }
    }

    fn persist_kv(&self) -> Answer {
        let effect =
            NameServerEffect::PersistKv { path: self.config.kv_config_path.clone(), content: self.kv.encode() };
        Answer { effect: Some(Box::new(effect)), ..Answer::success() }
    }
}
