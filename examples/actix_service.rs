//! An actix-web service over larder, to be copied: answers that survive a broken store and a broken
//! origin, a health endpoint, a graceful end. `-- serve` listens on port 8080 until Ctrl-C; without it
//! the service asks itself, with its store and its origin taken away on the way, and ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpResponse, HttpServer, get, web};
use larder::{BreakerMode, Cache, Condition, Freshness, Larder, OnOpenFailure};

static ORIGIN_IS_DOWN: AtomicBool = AtomicBool::new(false);

/// What is slow, and sometimes not there.
async fn render(id: &str) -> Option<String> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    (!ORIGIN_IS_DOWN.load(Ordering::Relaxed)).then(|| format!("product {id}"))
}

#[get("/products/{id}")]
async fn product(pages: web::Data<Cache<String>>, id: web::Path<String>) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    // A cache that cannot answer (`Overloaded`, a key that is too long) is a miss to this service.
    let found = pages.get(&id).allow_stale().outcome().await.ok();
    for missing in found.iter().flat_map(|found| &found.degraded) {
        let text = format!("{} {:?}", missing.driver, missing.reason);
        answer.append_header(("x-degraded", text));
    }
    let stale = match found.and_then(|found| found.entry) {
        Some(page) if page.freshness() == Freshness::Fresh => {
            let from = ("x-from", format!("{:?}", page.source()));
            return answer.insert_header(from).body(page.to_string());
        }
        stale => stale,
    };
    match (render(&id).await, stale) {
        (Some(page), _) => {
            // Queued: a store that is down costs nothing here, the page is stored when it is back.
            if let Err(error) = pages.set(&id, page.clone()).await {
                tracing::warn!(%error, "a page was not kept");
            }
            answer.insert_header(("x-from", "Origin")).body(page)
        }
        // Better an old page than none.
        (None, Some(old)) => answer
            .insert_header(("x-from", "Stale"))
            .body(old.to_string()),
        (None, None) => HttpResponse::BadGateway().body("the origin does not answer"),
    }
}

/// For a load balancer. Without its disk the service serves on, so degraded is well enough.
#[get("/health")]
async fn health(larder: web::Data<Larder>) -> HttpResponse {
    let health = larder.health();
    match health.condition {
        Condition::Up | Condition::Degraded => HttpResponse::Ok().json(health),
        Condition::Down => HttpResponse::ServiceUnavailable().json(health),
    }
}

fn serve(larder: &Larder, port: u16) -> Result<(Server, SocketAddr), Box<dyn std::error::Error>> {
    let pages = larder.cache_builder::<String>("pages");
    let pages = pages.ttl(Duration::from_secs(60)).ttl_jitter(0.1);
    let pages = pages.stale_for(Duration::from_secs(86_400)).open()?;
    let (pages, larder) = (web::Data::new(pages), web::Data::new(larder.clone()));
    let app = move || {
        let app = App::new().app_data(pages.clone()).app_data(larder.clone());
        app.service(product).service(health)
    };
    let server = HttpServer::new(app).workers(2).bind(("127.0.0.1", port))?;
    let address = *server.addrs().first().ok_or("bound to no address")?;
    Ok((server.run(), address))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?; // a real one has a place of its own
    let larder = Larder::builder()
        .memory_bytes(16 << 20)
        .disk(directory.path())
        .on_open_failure(OnOpenFailure::StartDegraded)
        .start()
        .await?;
    if std::env::args().nth(1).as_deref() == Some("serve") {
        let (server, address) = serve(&larder, 8080)?;
        println!("http://{address}/products/7 and http://{address}/health, until Ctrl-C");
        server.await?; // actix-web answers what is under way, and then:
    } else {
        let (server, address) = serve(&larder, 0)?;
        let (handle, running) = (server.handle(), actix_web::rt::spawn(server));
        play(&larder, address).await?;
        handle.stop(true).await;
        running.await??;
    }
    Ok(larder.shutdown(Duration::from_secs(5)).await?)
}

async fn play(larder: &Larder, address: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let expect = async |path: &'static str, parts: &[&str]| {
        let answer = web::block(move || ask(address, path)).await??;
        println!("{path}: {}", parts.join(", "));
        assert!(parts.iter().all(|part| answer.contains(part)), "{answer}");
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    expect("/products/7", &["x-from: Origin", "product 7"]).await?;
    expect("/products/7", &["x-from: Memory", "product 7"]).await?;
    larder.driver("disk")?.set_breaker(BreakerMode::ForcedOpen);
    expect("/products/8", &["x-degraded: disk Down", "product 8"]).await?;
    expect("/health", &["200 OK", r#""condition":"degraded""#]).await?;
    larder.driver("disk")?.set_breaker(BreakerMode::Auto);
    ORIGIN_IS_DOWN.store(true, Ordering::Relaxed);
    larder.cache::<String>("pages")?.expire("7").await?;
    expect("/products/7", &["x-from: Stale", "product 7"]).await
}

/// The whole answer to one request.
fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let rest = "HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    write!(stream, "GET {path} {rest}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
