//! Nothing is counted.

use crate::{
    announce::Announce,
    channel::Channels,
    policies::{ClientStack, Ears, ServerStack},
    route::{ClusterSettings, Route},
};
use towpath_discover::DirectoryBuilder;
use towpath_timeout::TimedOut;
use towpath_transport::Server as Transport;

#[derive(Clone, Debug, Default)]
pub(crate) struct ClientCounting {}

#[derive(Clone, Debug, Default)]
pub(crate) struct ServerCounting {}

impl ClientCounting {
    pub(crate) fn policies(&mut self, _: &ClientStack) {}

    pub(crate) fn cluster(&self, settings: ClusterSettings) -> ClusterSettings {
        settings
    }

    pub(crate) fn channels(&self, channels: Channels) -> Channels {
        channels
    }

    pub(crate) fn deadlines(&self) -> Ears<TimedOut> {
        Ears::default()
    }

    pub(crate) fn directory(&self, builder: DirectoryBuilder) -> DirectoryBuilder {
        builder
    }

    pub(crate) fn route(&self, _: &Route, _: &Channels) {}
}

impl ServerCounting {
    pub(crate) fn policies(&mut self, _: &ServerStack) {}

    pub(crate) fn transport(&self, server: Transport) -> Transport {
        server
    }

    pub(crate) fn registrations(&self, _: &Announce) {}
}
