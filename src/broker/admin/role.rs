//! RINGMQ_ORDER_ROLE 720002: an operator gives a shard its role, where nothing else gives roles.
//!
//! `ringmq-admin replica take-back` lets a master whose store was wiped or replaced become the slave of its slave until it has all of it, and take
//! its role back. Asked without an order, a shard says what it is, so that whoever orders can number the reigns.

use super::super::{Asked, Broker, Handled, Output, Refusal};
use crate::protocol::code::ResponseCode;
use crate::protocol::reply::{ExtValue, Reply};
use crate::protocol::request::{
    OrderRoleRequest, ROLE, ROLE_BROKER_ID, ROLE_END, ROLE_EPOCH, ROLE_FOLLOWS, ROLE_HOLDS_BACK, ROLE_LOG, ROLE_NAME,
    ROLE_START,
};
use crate::said::BY_STRANGERS;

impl Broker {
    /// See the module.
    pub(in crate::broker) fn order_role(
        &mut self,
        asked: &Asked,
        request: OrderRoleRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if let Some(order) = request.order {
            if let Some(why) = self.why_not_ordered(order) {
                return Err(Refusal::new(ResponseCode::SystemError, format!("the role does not change: {why}")));
            }
            let (role, _, epoch) = order;
            let by = self.peer(asked.connection).ip();
            tracing::warn!(target: BY_STRANGERS, broker = %self.settings.name, %role, %epoch, %by, "an operator orders another role");
        }
        let number = |number: u64| ExtValue::I64(i64::try_from(number).unwrap_or(i64::MAX));
        let (role, log) = (self.life.role.to_string(), self.view_replicas().log.to_string());
        let ext = [
            (ROLE, ExtValue::Str(&role)),
            (ROLE_NAME, ExtValue::Str(self.settings.name.as_str())),
            (ROLE_BROKER_ID, number(self.life.broker_id.0)),
            (ROLE_EPOCH, number(self.newest_order().map_or(0, |epoch| u64::from(epoch.0)))),
            (ROLE_LOG, ExtValue::Str(&log)),
            (ROLE_START, number(self.log.start().0)),
            (ROLE_END, number(self.log.appended().0)),
            (ROLE_HOLDS_BACK, ExtValue::Bool(self.holds_back())),
            (ROLE_FOLLOWS, ExtValue::Bool(self.follows_master())),
        ];
        self.reply(asked, &Reply::fields(&ext), out);
        if let Some(order) = request.order {
            // The answer is there before the life ends.
            self.take_role(asked.now, order, out);
        }
        Ok(Handled::Done)
    }
}
