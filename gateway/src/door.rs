//! The front door's parts, and the way of one tool call through them.

use crate::{
    AccountResolver, Authenticator, GatewaySettings, Principal, ProtectedResource, RateLimit, SignatureVerifier,
    account::{self, Resolved},
    compliance,
    contract::Contract,
    governance,
    http::{Challenges, WellKnown},
    tools::{self, Kind},
    version,
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use handoff_activities::Activities;
use handoff_client::{CallError, Handoff, Tasks};
use handoff_proto::{
    json,
    limits::MAX_REQUEST_BYTES,
    releases::Release,
    verbs,
    wire::{self, AdcpError},
};
use handoff_telemetry::Metrics;
use serde_json::Value;
use std::sync::Arc;

/// What all requests share.
pub(crate) struct Door {
    pub(crate) name: String,
    pub(crate) settings: GatewaySettings,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    /// What clients are told that have to get an access token first.
    pub(crate) resource: Option<ProtectedResource>,
    pub(crate) challenges: Challenges,
    /// What verifies requests that buyers sign.
    pub(crate) signatures: Option<SignatureVerifier>,
    pub(crate) accounts: Arc<dyn AccountResolver>,
    pub(crate) activities: Activities,
    pub(crate) catalog: tools::Catalog,
    pub(crate) capabilities: Value,
    pub(crate) contract: Contract,
    pub(crate) tasks: Tasks,
    pub(crate) handoff: Handoff,
    pub(crate) limiter: Limiter,
    pub(crate) metrics: Metrics,
    /// What publishes the keys that sign webhooks.
    pub(crate) well_known: WellKnown,
}

/// A tool's call, authenticated.
pub(crate) struct ToolCall {
    pub(crate) tool: String,
    pub(crate) principal: Principal,
    /// The arguments, as the buyer wrote them.
    pub(crate) text: Arc<str>,
    pub(crate) correlation_id: String,
}

/// A tool's answer, whole.
pub(crate) struct ToolAnswer {
    pub(crate) body: Value,
    pub(crate) is_error: bool,
}

/// A call whose request was read.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) call: Arc<ToolCall>,
    pub(crate) request: Arc<Value>,
}

impl Door {
    /// Answers a call; `None`: there is no such tool.
    pub(crate) async fn answer(self: &Arc<Self>, call: ToolCall) -> Option<ToolAnswer> {
        let call = Arc::new(call);
        let kind = self.catalog.kind(&call.tool)?;
        let request = json::parse_object(call.text.as_bytes(), MAX_REQUEST_BYTES).map(Arc::new);
        let context =
            request.as_ref().ok().and_then(|request| request.get("context")).filter(|context| !context.is_null());
        let release = request.as_ref().map_or(Release::LATEST, |request| Release::of(request));
        let answered = match &request {
            Ok(request) => self.answer_read(kind, Asked { call: call.clone(), request: request.clone() }).await,
            Err(error) => {
                Err(AdcpError::correctable("INVALID_REQUEST", format!("The request can't be read: {error}.")).into())
            }
        };
        let projected = answered.and_then(|body| {
            let mut body = version::project(release, self.catalog.protocol_name(&call.tool), body)?;
            if let Ok(request) = &request {
                version::echo_key(release, &call.tool, request, &mut body);
            }
            Ok(body)
        });
        let (body, is_error) = match projected {
            // A controller's refusal is an answer of a shape of its own.
            Ok(body) => {
                let is_error = kind == Kind::Controller && compliance::is_refusal(&body);
                (body, is_error)
            }
            Err(error) => {
                if let CallError::Infrastructure(error) = &error {
                    tracing::error!(tool = call.tool, correlation_id = call.correlation_id, %error, "a call failed");
                }
                let body = wire::failed_body(verbs::find(&call.tool), &error.to_adcp());
                (version::project_error(release, body), true)
            }
        };
        // What no recorded answer holds: its release, and this request's context.
        let body = wire::with_context(version::stamp(release, &call.tool, body), context);
        Some(ToolAnswer { body, is_error })
    }

    async fn answer_read(self: &Arc<Self>, kind: Kind, asked: Asked) -> Result<Value, CallError> {
        if let Some(error) = self.rate_limited(&asked.call.principal) {
            return Err(error.into());
        }
        let name = self.catalog.protocol_name(&asked.call.tool);
        version::check(name, &asked.request)?;
        // The controller says itself what is wrong with a request.
        if kind != Kind::Controller {
            self.contract.check_request(name, &asked)?;
        }
        match kind {
            Kind::Verb => tools::verb(self, &asked).await,
            Kind::Plain => tools::plain(self, &asked).await,
            Kind::Governance => governance::sync_governance(self, &asked).await,
            Kind::TaskStatus => tools::task_status(self, &asked).await,
            Kind::TaskList => tools::task_list(self, &asked).await,
            Kind::Capabilities => Ok(tools::capabilities(self)),
            Kind::Controller => Ok(compliance::control(self, &asked).await),
        }
    }

    /// Whose request it is.
    pub(crate) async fn resolve(&self, asked: &Asked, account_required: bool) -> Result<Resolved, AdcpError> {
        let mut resolved =
            account::resolve(&*self.accounts, &asked.call.principal, &asked.request, account_required).await?;
        resolved.caller = resolved.caller.correlated(&asked.call.correlation_id);
        Ok(resolved)
    }

    /// Whose request it is, if it is about proposals and names no account: theirs.
    pub(crate) async fn resolve_offered(&self, asked: &Asked) -> Result<Option<Resolved>, CallError> {
        let registry = self.handoff.registry();
        let (principal, tool) = (&asked.call.principal, asked.call.tool.as_str());
        let resolved = account::resolve_offered(&**registry, &*self.accounts, principal, tool, &asked.request).await?;
        Ok(resolved.map(|Resolved { caller, has_account }| Resolved {
            caller: caller.correlated(&asked.call.correlation_id),
            has_account,
        }))
    }

    /// The refusal of an agent that asks too often.
    pub(crate) fn rate_limited(&self, principal: &Principal) -> Option<AdcpError> {
        let seconds = self.limiter.check(principal)?;
        Some(AdcpError::transient("RATE_LIMITED", "Too many requests.").retry_after(seconds))
    }
}

/// Counts each agent's requests on this process.
pub(crate) struct Limiter(Option<DefaultKeyedRateLimiter<String>>);

impl Limiter {
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        let quota = limit.map(|limit| Quota::per_second(limit.per_second).allow_burst(limit.burst));
        Self(quota.map(RateLimiter::keyed))
    }

    /// How many seconds to wait, if there were too many.
    fn check(&self, principal: &Principal) -> Option<u32> {
        let limiter = self.0.as_ref()?;
        let not_yet = limiter.check_key(&principal.name).err()?;
        let wait = not_yet.wait_time_from(limiter.clock().now());
        Some(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
    }
}
