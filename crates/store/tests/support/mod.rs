//! A disk that forgets what was not synced when its power is cut, tears what it was writing, runs full, and lies.

#![allow(dead_code)] // each test binary uses its own part of this

pub mod load;

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};

use backstay_store::front::LogLimits;
use backstay_store::{EmbeddedStore, OpenError};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use redb::StorageBackend;

/// A disk writes sectors as a whole, at best.
const SECTOR_BYTES: usize = 512;

/// One disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// What survives a power cut.
    durable: Vec<u8>,
    /// What readers see.
    current: Vec<u8>,
    /// The difference between the two, in order.
    unsynced: Vec<Change>,
    operations: u64,
    syncs: u64,
    cut: Cut,
    off: bool,
    full: bool,
    /// This sync from now reaches the disk, but says that it failed.
    lie_in: Option<u64>,
    /// This sync from now fails, and what it should have written is taken for written all the same: later syncs leave it
    /// out, and readers see it until the power goes. So does Linux.
    drop_in: Option<u64>,
    /// Syncs say that they worked, and do nothing.
    forgetful: bool,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

/// When the power goes.
#[derive(Clone, Copy, Debug, Default)]
pub enum Cut {
    #[default]
    Never,
    /// During the n-th sync from now.
    Sync(u64),
    /// During the n-th write, change of length or sync from now.
    Operation(u64),
}

impl Disk {
    pub fn cut(&self, cut: Cut) {
        let mut platter = self.lock();
        (platter.operations, platter.syncs, platter.cut) = (0, 0, cut);
    }

    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The n-th sync from now reaches the disk, but says that it failed.
    pub fn lie_in(&self, syncs: u64) {
        self.lock().lie_in = Some(syncs);
    }

    /// The n-th sync from now fails, and later ones do not make up for it.
    pub fn drop_in(&self, syncs: u64) {
        self.lock().drop_in = Some(syncs);
    }

    pub fn forget_syncs(&self) {
        self.lock().forgetful = true;
    }

    /// Syncs and operations since the last [`Disk::cut`].
    pub fn counts(&self) -> (u64, u64) {
        let platter = self.lock();
        (platter.syncs, platter.operations)
    }

    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// Any part of what was not synced has reached the disk, in any order, cut anywhere.
    pub fn power_on(&self, seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut platter = self.lock();
        let mut changes = std::mem::take(&mut platter.unsynced);
        changes.shuffle(&mut random);
        let share = [0.0, 0.1, 0.5, 0.9, 1.0][random.random_range(0..5)];
        for change in changes {
            if random.random_bool(share) {
                tear(&mut platter.durable, change, &mut random);
            }
        }
        platter.current = platter.durable.clone();
        platter.off = false;
        platter.cut = Cut::Never;
    }

    /// Changes bytes that have been written.
    pub fn damage(&self, offset: usize, with: u8) {
        let mut platter = self.lock();
        platter.durable[offset] ^= with;
        platter.current = platter.durable.clone();
    }

    pub fn len(&self) -> usize {
        self.lock().durable.len()
    }

    /// A copy of the disk as it is.
    pub fn copy(&self) -> Self {
        let platter = self.lock();
        let (durable, current) = (platter.durable.clone(), platter.current.clone());
        Self(Arc::new(Mutex::new(Platter { durable, current, ..Platter::default() })))
    }

    pub fn open(&self) -> std::result::Result<EmbeddedStore, OpenError> {
        let disk = self.clone();
        let opener = move || Ok(Box::new(disk.clone()) as Box<dyn StorageBackend>);
        EmbeddedStore::open_with(Box::new(opener), LogLimits::default())
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().expect("no panic while the disk is locked")
    }
}

impl Platter {
    fn check(&mut self, is_sync: bool) -> Result<()> {
        self.operations += 1;
        self.syncs += u64::from(is_sync);
        self.off |= match self.cut {
            Cut::Never => false,
            Cut::Sync(number) => self.syncs >= number,
            Cut::Operation(number) => self.operations >= number,
        };
        if self.off { Err(Error::other("no power")) } else { Ok(()) }
    }

    fn check_space(&self) -> Result<()> {
        if self.full { Err(Error::from(ErrorKind::StorageFull)) } else { Ok(()) }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.current, &change);
        self.unsynced.push(change);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64> {
        let platter = self.lock();
        if platter.off { Err(Error::other("no power")) } else { Ok(platter.current.len() as u64) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let platter = self.lock();
        if platter.off {
            return Err(Error::other("no power"));
        }
        let start = offset as usize;
        let bytes = platter.current.get(start..start + out.len()).ok_or(Error::from(ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut platter = self.lock();
        platter.check(false)?;
        if len as usize > platter.current.len() {
            platter.check_space()?;
        }
        platter.change(Change::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        let mut platter = self.lock();
        platter.check(true)?;
        platter.check_space()?;
        if platter.forgetful {
            return Ok(());
        }
        platter.drop_in = platter.drop_in.map(|syncs| syncs - 1);
        if platter.drop_in.take_if(|syncs| *syncs == 0).is_some() {
            // The length of a file is not among its data.
            for change in std::mem::take(&mut platter.unsynced) {
                if matches!(change, Change::Length(_)) {
                    apply(&mut platter.durable, &change);
                }
            }
            return Err(Error::other("the disk says no"));
        }
        for change in std::mem::take(&mut platter.unsynced) {
            apply(&mut platter.durable, &change);
        }
        platter.lie_in = platter.lie_in.map(|syncs| syncs - 1);
        match platter.lie_in.take_if(|syncs| *syncs == 0) {
            Some(_) => Err(Error::other("the disk says no")),
            None => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut platter = self.lock();
        platter.check(false)?;
        platter.check_space()?;
        platter.change(Change::Write { offset: offset as usize, data: data.to_vec() });
        Ok(())
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => bytes.resize(*length, 0),
        Change::Write { offset, data } => put(bytes, *offset, data),
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

/// A write, or some sectors of it.
fn tear(bytes: &mut Vec<u8>, change: Change, random: &mut SmallRng) {
    match change {
        Change::Write { offset, data } if random.random_bool(0.5) => {
            for (number, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                if random.random_bool(0.5) {
                    put(bytes, offset + number * SECTOR_BYTES, sector);
                }
            }
        }
        // A file is never shorter than its synced part after a cut: redb shrinks only what it no longer uses.
        Change::Length(length) => bytes.resize(length.max(bytes.len()), 0),
        change => apply(bytes, &change),
    }
}
