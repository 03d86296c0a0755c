//! An actix-web service that serves through larder. It asks itself twice, then ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, error, get, web};
use larder::{Cache, Larder};

/// How often the slow part ran.
static RENDERED: AtomicU32 = AtomicU32::new(0);

#[get("/products/{id}")]
async fn product(
    pages: web::Data<Cache<String>>,
    id: web::Path<String>,
) -> actix_web::Result<HttpResponse> {
    let unavailable = |error: larder::Error| error::ErrorServiceUnavailable(error.user_message());
    if let Some(page) = pages.get(&id).await.map_err(unavailable)? {
        let from = format!("{:?}", page.source());
        return Ok(HttpResponse::Ok()
            .insert_header(("x-from", from))
            .body(page.to_string()));
    }
    let page = render(&id).await;
    let set = pages.set(&id, page.clone()).ttl(Duration::from_secs(60));
    set.await.map_err(unavailable)?;
    Ok(HttpResponse::Ok()
        .insert_header(("x-from", "Render"))
        .body(page))
}

async fn render(id: &str) -> String {
    RENDERED.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(20)).await;
    format!("product {id}")
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let larder = Larder::builder().memory_bytes(16 << 20).start().await?;
    let pages = web::Data::new(larder.cache::<String>("pages")?);
    let service = HttpServer::new(move || App::new().app_data(pages.clone()).service(product))
        .workers(1)
        .bind(("127.0.0.1", 0))?;
    let address = *service.addrs().first().ok_or("bound to no address")?;
    let server = service.run();
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);

    let answers = web::block(move || Ok([ask(address)?, ask(address)?])).await?;
    let [first, second] = answers.map_err(|error: std::io::Error| error)?;
    handle.stop(true).await;
    running.await??;
    larder.shutdown(Duration::from_secs(5)).await?;

    for answer in [&first, &second] {
        let from = answer.lines().find(|line| line.starts_with("x-from"));
        println!(
            "{} ({})",
            answer.lines().last().unwrap_or(""),
            from.unwrap_or("")
        );
    }
    assert!(first.contains("x-from: Render") && first.ends_with("product 7"));
    assert!(second.contains("x-from: Memory") && second.ends_with("product 7"));
    assert_eq!(RENDERED.load(Ordering::Relaxed), 1);
    Ok(())
}

/// The whole answer to one request.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream
        .write_all(b"GET /products/7 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
