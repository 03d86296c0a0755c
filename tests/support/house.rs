//! The order of the house, as tables: sizes, arrows between modules, who may do what.

pub const SRC_LINES_MAX: usize = 350;
pub const OTHER_LINES_MAX: usize = 600;
pub const FUNCTION_LINES_MAX: usize = 70;

/// Every module and what it imports, lowest first. A module imports only what stands above it here,
/// but for [`AGAINST_THE_ORDER`].
pub const ARROWS: &[(&str, &str)] = &[
    // Words, numbers and plain values.
    ("sync", ""),
    ("tally", ""),
    ("histogram", ""),
    ("secret", ""),
    ("wipe", ""),
    ("clock", "sync"),
    ("key", ""),
    ("version", "sync"),
    ("error", "version"),
    ("breaker", "clock"),
    ("health", "clock"),
    ("gate", "error"),
    ("runtime", "clock error"),
    ("record", "clock version wipe"),
    ("codec", "error record wipe"),
    ("timers", "clock key"),
    ("bell", "sync"),
    ("hurry", "sync"),
    ("wait", "clock error gate"),
    ("config", "breaker error gate health record timers"),
    // Storage, without an actor.
    ("drivers", "clock version"),
    ("drivers::map", "clock version drivers"),
    ("drivers::pulse", "clock drivers"),
    ("drivers::queue", "sync clock"),
    (
        "drivers::lanes",
        "clock gate version record drivers drivers::pulse drivers::queue",
    ),
    ("drivers::answers", "clock version"),
    ("drivers::disk", "clock key version record drivers"),
    (
        "drivers::sealed",
        "clock key version record secret wipe drivers drivers::disk",
    ),
    ("drivers::faults", "clock drivers drivers::map"),
    ("drivers::conformance", "clock version record drivers"),
    ("shelf", "sync tally clock key version error bell drivers"),
    ("entry", "clock version shelf"),
    (
        "fetch",
        "sync clock key version error breaker health wait config shelf entry",
    ),
    (
        "port",
        "histogram clock key version error breaker gate wait drivers drivers::pulse drivers::lanes shelf entry",
    ),
    // What hosts are told.
    ("outcome", "clock version shelf entry"),
    ("typed", "clock error codec shelf entry"),
    ("event", "clock version error codec shelf entry typed"),
    (
        "stats",
        "histogram clock breaker health codec config drivers shelf fetch port",
    ),
    (
        "messages",
        "clock key version error breaker codec drivers shelf entry outcome event stats cache drivers::sealed secret",
    ),
    // The paths, and the handle over them.
    (
        "watch",
        "sync clock key version error codec shelf entry typed event messages",
    ),
    (
        "tiers",
        "sync clock key version error gate record codec hurry wait config drivers shelf entry fetch port outcome messages",
    ),
    (
        "cache",
        "clock key version error codec gate runtime hurry config shelf entry fetch outcome typed messages watch tiers",
    ),
    // The actors: shells over what stands above.
    ("actors", ""),
    ("actors::guard", "sync"),
    (
        "actors::supervisor",
        "clock health drivers messages actors::guard",
    ),
    (
        "actors::memory",
        "clock error config shelf messages actors::guard",
    ),
    (
        "actors::driver",
        "error wait drivers port messages actors::guard",
    ),
    (
        "actors::batch",
        "clock key version error record hurry config drivers drivers::lanes shelf port messages actors::guard",
    ),
    (
        "actors::ttl",
        "sync clock key version timers drivers shelf messages actors::guard",
    ),
    (
        "actors::hub",
        "sync error shelf messages watch actors::guard",
    ),
    (
        "actors::desk",
        "version error breaker codec gate entry outcome stats messages watch tiers cache actors::guard drivers::sealed",
    ),
    // What puts it all together.
    (
        "wiring",
        "sync clock version error breaker health gate runtime hurry wait config drivers drivers::pulse drivers::lanes shelf entry fetch port outcome stats messages watch tiers actors::guard actors::supervisor actors::memory actors::driver actors::batch actors::ttl actors::hub actors::desk drivers::sealed secret",
    ),
    (
        "larder",
        "clock error breaker health codec fetch runtime port outcome stats messages tiers cache wiring builder drivers::sealed secret",
    ),
    ("addresses", "error cache messages actors::desk larder"),
    (
        "builder",
        "clock error gate health runtime config drivers drivers::disk entry cache wiring larder drivers::sealed secret",
    ),
    // What reads stored bytes, as fuzzers call it.
    (
        "fuzzing",
        "error record codec fetch cache drivers::disk drivers::sealed version",
    ),
];

/// Arrows against the order of the table. ARCHITECTURE.md has the reason for each.
pub const AGAINST_THE_ORDER: &[(&str, &str)] = &[("messages", "cache"), ("larder", "builder")];

/// Who may name actix; nothing below the messages does.
pub const KNOWS_ACTIX: &[&str] = &[
    "src/error.rs", // its mailbox error, and only here
    "src/messages/",
    "src/actors/",
    "src/watch/recipient.rs", // a subscriber that is an actor
    "src/runtime.rs",
    "src/wiring",
    "src/addresses.rs", // gives out the addresses
];

/// Files with something that several threads share: these and no others.
pub const SHARED: &[(&str, &str)] = &[
    (
        "src/cache/asking.rs",
        "what a call says that says nothing; made once",
    ),
    (
        "src/drivers/sealed/mod.rs",
        "what the writing thread has at hand; whether the store is being rewritten",
    ),
    (
        "src/drivers/sealed/names.rs",
        "hashes that were made before; the same for whoever makes them",
    ),
    (
        "src/drivers/sealed/replay.rs",
        "what was committed last: the writing thread, and those that read",
    ),
    (
        "src/drivers/sealed/vault.rs",
        "header and keys of a sealed store: its driver's threads, and whoever rotates or destroys them",
    ),
    (
        "src/wiring/driver/upkeep.rs",
        "whether a store is being rewritten, and whether that has failed: its thread tells the task that waits",
    ),
    (
        "src/sync.rs",
        "the names under which the shelf takes locks and atomics",
    ),
    (
        "src/actors/hub.rs",
        "the registry: the hub's alone, under a lock because it outlives a generation",
    ),
    (
        "src/fetch/source.rs",
        "the places of all sources, and the circuit of each: loads, and whoever ends one",
    ),
    (
        "src/fetch/source/stats.rs",
        "counters of a source, read by whoever asks",
    ),
    (
        "src/fetch/source/ticket.rs",
        "the place of a load: the load, those that it waits for, and whoever cancels it",
    ),
    (
        "src/fetch/source/turn.rs",
        "how urgent a load is and where it waits: the load, and whoever joins it",
    ),
    (
        "src/fetch/notes.rs",
        "what is remembered of loads: whoever fetches, and loads",
    ),
    (
        "src/fetch/news.rs",
        "how many watch loads: the watchers, and loads",
    ),
    (
        "src/cache/register.rs",
        "the loader of a cache: all its handles",
    ),
    (
        "src/fetch/flights.rs",
        "who waits for which load: whoever fetches, and the load",
    ),
    ("src/fetch/mod.rs", "what loads come to: counters"),
    (
        "src/fetch/scope.rs",
        "until when the calls of a scope may run: the scope, and each of them",
    ),
    (
        "src/actors/batch/supply.rs",
        "how far a drain has come: the commit thread's, until the batch writer takes it back",
    ),
    (
        "src/actors/supervisor.rs",
        "health: written by one supervisor, read by whoever asks",
    ),
    (
        "src/actors/ttl/parts.rs",
        "counters that outlive a generation",
    ),
    ("src/bell.rs", "one wake-up in flight per receiver"),
    (
        "src/clock/base.rs",
        "the offset of the clock, only ever raised",
    ),
    (
        "src/codec/compression.rs",
        "counters of what is compressed: whoever sets",
    ),
    (
        "src/codec/zstd.rs",
        "contexts of zstd that nobody uses: whoever compresses next",
    ),
    (
        "src/codec/proof.rs",
        "whether a value of a cache's type has been read back",
    ),
    (
        "src/drivers/conformance/records.rs",
        "what its reading threads have seen",
    ),
    (
        "src/drivers/disk/mod.rs",
        "where the store stands: writing thread and readers of one driver",
    ),
    (
        "src/drivers/faults/driver.rs",
        "whether an instance is poisoned, for its readers and its writer",
    ),
    (
        "src/drivers/faults/mod.rs",
        "the hand that a test keeps and the drivers that it steers",
    ),
    (
        "src/drivers/faults/platform.rs",
        "what all callers of a platform's store share",
    ),
    ("src/drivers/map.rs", "the map that is the store"),
    (
        "src/drivers/pulse.rs",
        "what each thread of a driver does at present, for the watchdog",
    ),
    (
        "src/drivers/queue.rs",
        "questions between async code and read threads, and which of these rest",
    ),
    ("src/gate.rs", "permits"),
    ("src/histogram.rs", "counts per bucket"),
    (
        "src/hurry.rs",
        "how many wait for something to be stored, so that no commit lingers meanwhile",
    ),
    (
        "src/port.rs",
        "breaker state, the present generation's lanes, counters",
    ),
    ("src/port/read.rs", "hears that a generation is given up"),
    (
        "src/runtime.rs",
        "threads and arbiters to be joined at the end",
    ),
    (
        "src/shelf/event.rs",
        "how many bytes of events wait in all stripes together",
    ),
    (
        "src/shelf/fence.rs",
        "fences of a scope, and their order against conditions",
    ),
    ("src/shelf/mod.rs", "stripes, scopes, counters"),
    (
        "src/shelf/row.rs",
        "how often a row was read, counted under a read lock",
    ),
    (
        "src/shelf/ticket.rs",
        "how many holders a waiting caller still has",
    ),
    (
        "src/secret/keychain.rs",
        "one thread at a time looks for a key in the keychain and stores one",
    ),
    ("src/stats.rs", "reads the counters"),
    (
        "src/tally.rs",
        "hits and misses by thread, and which seats are free",
    ),
    (
        "src/tiers.rs",
        "dirty budget, hurry, definitions of caches, lines",
    ),
    ("src/tiers/counts.rs", "counters"),
    ("src/version.rs", "the version clock and its ceiling"),
    ("src/wait.rs", "the end of every wait"),
    (
        "src/watch/inbox.rs",
        "the bounded place between the hub and one subscriber",
    ),
    ("src/wiring.rs", "makes the above"),
    ("src/wiring/book.rs", "addresses and health by name"),
    (
        "src/wiring/driver/launch.rs",
        "the end of a generation's threads, for its successor",
    ),
    (
        "src/wiring/driver/heal.rs",
        "what a driver is owed from memory, which outlives its generations",
    ),
    (
        "src/wiring/parts.rs",
        "the registry, which outlives the hub's generations",
    ),
];

/// Files that block a thread on purpose.
pub const MAY_SLEEP: &[&str] = &[
    // On the storage thread that closes a store: fjall's workers tell nobody when they let go.
    "src/drivers/disk/closing.rs",
    // On the thread that rewrites a store: nor do they tell when a memtable is a table.
    "src/drivers/disk/store.rs",
    // A driver that plays a slow device; what waits for it is what is tested.
    "tests/support/sluice.rs",
];
