//! The secure driver, and the disk tier's encryption.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Builder, DriverPlan};
use crate::config::CommitConfig;
use crate::drivers::disk::DiskConfig;
use crate::drivers::sealed::{EncryptionConfig, PlainStore, Vault, disk_factory};
use crate::entry::Source;
use crate::secret::KeyProvider;

/// The secure driver's name.
pub(crate) const SECURE: &str = "secure";

/// What is to be sealed.
#[derive(Default)]
pub(super) struct Sealing {
    /// How the disk tier is, if it is.
    pub disk: Option<EncryptionConfig>,
    /// The secure drivers that were asked for; one is allowed.
    stores: Vec<(PathBuf, DiskConfig, EncryptionConfig)>,
    commits: Option<CommitConfig>,
}

impl Builder {
    /// Seals what the disk tier stores, which must be given, too: values and names of entries, with
    /// AES-256-GCM, under the master key from `key`. A plain store in its directory is converted.
    ///
    /// It is not the default, since a host without a key must be able to start. SECURITY.md says what it
    /// protects from and what not.
    ///
    /// ```no_run
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// use larder::{Larder, secret::EnvKey};
    /// let larder = Larder::builder()
    ///     .disk("./data")
    ///     .encrypted(EnvKey::new("APP_CACHE_KEY"))
    ///     .start()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn encrypted(self, key: impl KeyProvider) -> Self {
        self.encrypted_with(EncryptionConfig::new(key))
    }

    /// As [`encrypted`](Builder::encrypted), with settings of its own.
    pub fn encrypted_with(mut self, config: EncryptionConfig) -> Self {
        self.sealing.disk = Some(config);
        self
    }

    /// Adds the secure driver (`"secure"`), a sealed store in a directory of its own for what
    /// [`Larder::secure`](crate::Larder::secure) keeps. Other caches do not use it.
    ///
    /// ```no_run
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// use larder::{Larder, secret::{FileKey, Secret}};
    /// let larder = Larder::builder()
    ///     .secure("./secrets", FileKey::new("/run/secrets/cache-key"))
    ///     .start()
    ///     .await?;
    /// let tokens = larder.secure::<Secret<String>>("tokens")?;
    /// tokens.set("ada", Secret::new("eyJ0".to_owned())).await?;
    /// # Ok(()) }
    /// ```
    pub fn secure(self, directory: impl AsRef<Path>, key: impl KeyProvider) -> Self {
        self.secure_with(directory, DiskConfig::default(), EncryptionConfig::new(key))
    }

    /// As [`secure`](Builder::secure), with settings of its own.
    pub fn secure_with(
        mut self,
        directory: impl AsRef<Path>,
        store: DiskConfig,
        encryption: EncryptionConfig,
    ) -> Self {
        let directory = directory.as_ref().to_owned();
        self.sealing.stores.push((directory, store, encryption));
        self
    }

    /// How batches go down to the secure driver, which must be given, too.
    pub fn secure_commits(mut self, config: CommitConfig) -> Self {
        self.sealing.commits = Some(config);
        self
    }

    /// The secure driver, if it was asked for.
    pub(super) fn secure_plan(&mut self, problems: &mut Vec<String>) -> Option<DriverPlan> {
        let (directory, config, encryption) = self.sealing.stores.pop()?;
        if self.disks.iter().any(|(other, _)| *other == directory) {
            problems
                .push("secure and disk are given the same directory, each needs its own".into());
        }
        let commits = self.sealing.commits.take().unwrap_or_default();
        let (source, mut encryption) = (Source::Secure, encryption);
        // Nothing plain was ever meant to be here.
        encryption.plain_store.get_or_insert(PlainStore::Refuse);
        Some(plan(
            SECURE, source, commits, &directory, &config, encryption,
        ))
    }

    /// Takes the last driver of the host's own for a sealed one.
    #[cfg(test)]
    pub(crate) fn sealed_by(mut self, vault: &Arc<Vault>) -> Self {
        if let Some(plan) = self.drivers.last_mut() {
            plan.vault = Some(Arc::clone(vault));
        }
        self
    }

    /// What is wrong with what was said about sealing.
    pub(super) fn sealing_problems(&self) -> Vec<String> {
        let Sealing {
            disk,
            stores,
            commits,
        } = &self.sealing;
        let mut problems = Vec::new();
        if disk.is_some() && self.disks.is_empty() {
            problems.push("encrypted is given, and no disk".into());
        }
        if stores.is_empty() && commits.is_some() {
            problems.push("secure_commits is given, and no secure".into());
        }
        if stores.len() > 1 {
            problems.push(format!(
                "secure is given {} times, allowed is once",
                stores.len()
            ));
        }
        for (directory, config, encryption) in stores {
            if directory.as_os_str().is_empty() {
                problems.push("secure directory is empty".into());
            }
            let config = config.problems().into_iter();
            problems.extend(config.map(|p| p.replacen("disk.", "secure.", 1)));
            problems.extend(encryption.problems());
        }
        problems.extend(disk.iter().flat_map(EncryptionConfig::problems));
        problems
    }
}

/// A driver whose store is sealed.
pub(super) fn plan(
    name: &str,
    source: Source,
    commits: CommitConfig,
    directory: &Path,
    config: &DiskConfig,
    encryption: EncryptionConfig,
) -> DriverPlan {
    let vault = Arc::new(Vault::new(directory, encryption));
    let factory = disk_factory(directory, config, &vault);
    DriverPlan {
        vault: Some(vault),
        ..DriverPlan::new(name, source, commits, factory)
    }
}
