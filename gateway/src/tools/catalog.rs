//! Which tools there are: what the seller registered, and what Handoff answers itself.

use crate::{compliance::CONTROLLER, contract::Contract};
use handoff_activities::seller::Handlers;
use handoff_proto::wire::SYNC_GOVERNANCE;
use rmcp::model::Tool;
use std::collections::BTreeMap;

/// How a tool is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A verb that may be `submitted`.
    Verb,
    /// A tool of the seller's that never is.
    Plain,
    /// A poll.
    TaskStatus,
    /// A list of tasks.
    TaskList,
    /// What this seller can do.
    Capabilities,
    /// Which governance agents accounts have.
    Governance,
    /// What a compliance test wants of a sandbox account.
    Controller,
}

// Clients in the field know the polls by three names. The first is the protocol's; only it is listed.
const TASK_STATUS: [&str; 3] = ["get_task_status", "tasks_get", "tasks/get"];
const TASK_LIST: [&str; 3] = ["list_tasks", "tasks_list", "tasks/list"];
const CAPABILITIES: &str = "get_adcp_capabilities";

/// All tools.
pub(crate) struct Catalog {
    kinds: BTreeMap<String, Kind>,
    listed: Vec<Tool>,
}

impl Catalog {
    pub(crate) fn new(handlers: &Handlers, contract: &Contract, compliance_testing: bool, governed: bool) -> Self {
        let mut kinds = BTreeMap::new();
        kinds.extend(handlers.verbs().map(|name| (name.to_owned(), Kind::Verb)));
        kinds.extend(handlers.tools().map(|name| (name.to_owned(), Kind::Plain)));
        for name in [CAPABILITIES, TASK_STATUS[0], TASK_LIST[0]] {
            kinds.insert(name.to_owned(), kind_of_own(name));
        }
        if governed {
            kinds.insert(SYNC_GOVERNANCE.to_owned(), Kind::Governance);
        }
        if compliance_testing {
            kinds.insert(CONTROLLER.to_owned(), Kind::Controller);
        }
        let listed = kinds.keys().map(|name| {
            let (schema, description) = contract.tool(name);
            Tool::new_with_raw(name.clone(), description.map(Into::into), schema)
        });
        let listed = listed.collect();
        kinds.extend(TASK_STATUS.iter().chain(&TASK_LIST).map(|name| ((*name).to_owned(), kind_of_own(name))));
        Self { kinds, listed }
    }

    /// How the tool of this name is answered, if there is one.
    pub(crate) fn kind(&self, name: &str) -> Option<Kind> {
        self.kinds.get(name).copied()
    }

    /// The protocol's name of a tool.
    pub(crate) fn protocol_name<'a>(&self, name: &'a str) -> &'a str {
        match self.kind(name) {
            Some(Kind::TaskStatus) => TASK_STATUS[0],
            Some(Kind::TaskList) => TASK_LIST[0],
            _ => name,
        }
    }

    /// The tools that are listed.
    pub(crate) fn listed(&self) -> &[Tool] {
        &self.listed
    }

    /// The names of the tools that are listed.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().map(|tool| &*tool.name)
    }
}

fn kind_of_own(name: &str) -> Kind {
    if TASK_STATUS.contains(&name) {
        Kind::TaskStatus
    } else if TASK_LIST.contains(&name) {
        Kind::TaskList
    } else {
        Kind::Capabilities
    }
}
