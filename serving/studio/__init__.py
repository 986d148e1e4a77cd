"""``toonify studio``: a web page on this machine that toonifies pictures, clips and a webcam.

    page/          the page: it knows the HTTP interface below and nothing else
    web.py         the HTTP interface, and who may use it
    studio.py      what a request asks for, done with the package's own API
    clips.py       clips, which take longer than a request
    catalogue.py   which blends and attributes there are to choose from
    controls.py    what a person chose

    GET    /api/models                    blends, attributes and the largest upload
    POST   /api/picture?controls=JSON     bytes of a PNG, JPEG or WebP picture -> a PNG
    WS     /api/camera                    controls as JSON; or a frame, a JPEG -> {"faces": N} and a JPEG
    POST   /api/clip?controls=JSON        bytes of a video -> {"id": ID}
    GET    /api/clip/ID                   how far it is, as ``serving.studio.clips.ClipState``
    GET    /api/clip/ID/result            an MP4
    DELETE /api/clip/ID                   end the work, remove its files

Whatever is refused is answered by ``{"error": SENTENCE}`` and a status of 4xx or 5xx.
"""
